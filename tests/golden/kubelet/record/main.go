// Records what the log rotation of a real kubelet does to the files of one container, step by step.
//
// The rotation is kubelet's own code (k8s.io/kubernetes/pkg/kubelet/logs); the file system is the real one, behind kubelet's
// own interface, which is made to tell; the runtime is kubelet's fake of one that reopens the log, or cannot.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	critest "k8s.io/cri-api/pkg/apis/testing"
	"k8s.io/kubernetes/pkg/kubelet/container"
	"k8s.io/kubernetes/pkg/kubelet/logs"
)

// Everything is told through one lock, in order; only what changes a file is told, and removals that fail are not.
type teller struct {
	container.RealOS
	lock  sync.Mutex
	steps []string
}

var stamp = regexp.MustCompile(`0\.log\.2\d{7}-\d{6}`)

func (t *teller) tell(verb string, paths ...string) {
	t.lock.Lock()
	defer t.lock.Unlock()
	for i, path := range paths {
		paths[i] = stamp.ReplaceAllString(filepath.Base(path), "0.log.NOW")
	}
	t.steps = append(t.steps, verb+" "+strings.Join(paths, " "))
}

func (t *teller) Remove(path string) error {
	err := t.RealOS.Remove(path)
	if err == nil {
		t.tell("remove", path)
	}
	return err
}

func (t *teller) Rename(from, to string) error {
	t.tell("rename", from, to)
	return t.RealOS.Rename(from, to)
}

func (t *teller) OpenFile(name string, flag int, perm os.FileMode) (*os.File, error) {
	t.tell("write", name)
	return t.RealOS.OpenFile(name, flag, perm)
}

// A runtime whose reopen makes the file again, as containerd and CRI-O do, or fails.
type runtime struct {
	*critest.FakeRuntimeService
	path   string
	fails  bool
	teller *teller
	passed chan struct{}
}

func (r *runtime) ReopenContainerLog(ctx context.Context, id string) error {
	r.teller.tell("reopen", r.path)
	defer close(r.passed)
	if r.fails {
		return errors.New("the runtime cannot")
	}
	return os.WriteFile(r.path, nil, 0o640)
}

type scene struct {
	name     string
	maxFiles int
	files    []string
	fails    bool
	clean    bool
}

func main() {
	scenes := []scene{
		{name: "first rotation", maxFiles: 5, files: []string{"0.log"}},
		{name: "second rotation", maxFiles: 5, files: []string{"0.log", "0.log.19700101-000001"}},
		{name: "steady state", maxFiles: 5, files: []string{"0.log", "0.log.19700101-000001.gz", "0.log.19700101-000002.gz",
			"0.log.19700101-000003.gz", "0.log.19700101-000004"}},
		{name: "three files", maxFiles: 3, files: []string{"0.log", "0.log.19700101-000001.gz", "0.log.19700101-000002"}},
		{name: "two files", maxFiles: 2, files: []string{"0.log", "0.log.19700101-000001"}},
		{name: "died while it compressed", maxFiles: 5, files: []string{"0.log", "0.log.19700101-000001", "0.log.19700101-000001.tmp"}},
		{name: "died before it removed the plain file", maxFiles: 5, files: []string{"0.log", "0.log.19700101-000001", "0.log.19700101-000001.gz"}},
		{name: "several plain files", maxFiles: 5, files: []string{"0.log", "0.log.19700101-000001", "0.log.19700101-000002", "0.log.19700101-000003"}},
		{name: "more than there may be", maxFiles: 4, files: []string{"0.log", "0.log.19700101-000001.gz", "0.log.19700101-000002.gz",
			"0.log.19700101-000003.gz", "0.log.19700101-000004.gz", "0.log.19700101-000005", "0.log.19700101-000006"}},
		{name: "another instance beside it", maxFiles: 3, files: []string{"0.log", "0.log.19700101-000001", "1.log", "10.log", "10.log.19700101-000001"}},
		{name: "reopen fails", maxFiles: 5, files: []string{"0.log", "0.log.19700101-000001"}, fails: true},
		{name: "an instance is removed", maxFiles: 5, files: []string{"0.log", "0.log.19700101-000001.gz", "0.log.19700101-000002", "1.log"}, clean: true},
	}
	for _, s := range scenes {
		record(s)
	}
}

func record(s scene) {
	dir, err := os.MkdirTemp("", "rotation")
	check(err)
	defer os.RemoveAll(dir)
	for _, name := range s.files {
		check(os.WriteFile(filepath.Join(dir, name), []byte("a line\n"), 0o640))
	}
	t := &teller{}
	fake := critest.NewFakeRuntimeService()
	log := filepath.Join(dir, "0.log")
	fake.SetFakeContainers([]*critest.FakeContainer{{ContainerStatus: runtimeapi.ContainerStatus{
		Id: "id", State: runtimeapi.ContainerState_CONTAINER_RUNNING, LogPath: log}}})
	r := &runtime{FakeRuntimeService: fake, path: log, fails: s.fails, teller: t, passed: make(chan struct{})}
	manager, err := logs.NewContainerLogManager(r, t, "1", s.maxFiles, 1, metav1.Duration{Duration: time.Hour})
	check(err)
	if s.clean {
		check(manager.Clean(context.Background(), "id"))
	} else {
		manager.Start(context.Background())
		<-r.passed
		if s.fails {
			for t.count() == 0 || !strings.HasPrefix(t.last(), "rename 0.log.NOW") {
				time.Sleep(time.Millisecond)
			}
		}
	}
	fmt.Printf("# %s\nmax_files %d\n", s.name, s.maxFiles)
	for _, name := range s.files {
		fmt.Println("there", name)
	}
	for _, step := range t.steps {
		fmt.Println(step)
	}
	entries, err := os.ReadDir(dir)
	check(err)
	var names []string
	for _, entry := range entries {
		names = append(names, stamp.ReplaceAllString(entry.Name(), "0.log.NOW"))
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Println("left", name)
	}
	fmt.Println()
}

func (t *teller) count() int {
	t.lock.Lock()
	defer t.lock.Unlock()
	return len(t.steps)
}

func (t *teller) last() string {
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.steps[len(t.steps)-1]
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

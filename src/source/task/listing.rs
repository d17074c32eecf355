//! Which containers there are: directories and the watch on them. A listing is the truth; the watch only says when to list.

use super::container::Container;
use super::{Note, Source};
use crate::checkpoint::snapshot::Entry;
use crate::config;
use crate::source::pod_path;
use notify::{RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::io;
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// An empty log directory is believed so long after the start.
const MOUNT_WAIT: Duration = Duration::from_secs(120);

impl Source {
    /// Lists pods and containers.
    pub(super) fn rescan(&mut self) {
        self.rescan_at = self.desk.now + self.desk.rescan_interval;
        let pods = match self.desk.folders.directories("") {
            Ok(pods) => pods,
            Err(error) => return self.on_root_error(&error),
        };
        if self.root_problem.take().is_some() {
            info!(path = %self.config.pod_logs_dir.display(), "the pod log directory can be read again");
        }
        self.watch("");
        let listed: BTreeSet<String> = pods.iter().cloned().collect();
        let mut present = BTreeSet::new();
        // A node without any pod has not got its disk yet: what the checkpoint knew is waited for.
        let is_mounted = !pods.is_empty() || self.desk.now >= self.desk.epoch + MOUNT_WAIT;
        for name in pods {
            let Some(pod) = pod_path::pod_dir(&name).filter(|pod| self.is_wanted(pod)) else {
                continue;
            };
            self.watch(&name);
            let Ok(containers) = self.desk.folders.directories(&name) else {
                self.desk.counts.read_errors += 1;
                present.extend(
                    self.containers
                        .keys()
                        .filter(|path| path.starts_with(&format!("{name}/")))
                        .cloned(),
                );
                continue;
            };
            for container in containers {
                if self
                    .config
                    .exclude
                    .containers
                    .iter()
                    .any(|glob| glob.matches(&container))
                {
                    continue;
                }
                let path = format!("{name}/{container}");
                let known = self.containers.get_key_value(path.as_str());
                let path = known.map_or_else(|| path.into(), |(path, _)| Arc::clone(path));
                if !self.containers.contains_key(&path) {
                    let new = Container::new(
                        pod.clone(),
                        container.into(),
                        Arc::clone(&path),
                        !self.desk.first_listing_done,
                        self.desk.now,
                    );
                    self.containers.insert(Arc::clone(&path), Box::new(new));
                }
                present.insert(path);
            }
        }
        for (path, container) in &mut self.containers {
            container.on_presence(present.contains(path));
        }
        let has_container = |name: &str| {
            let next = from(&present, name);
            next.is_some_and(|path| path.starts_with(name))
        };
        self.watched.retain(|name| name.is_empty() || has_container(name));
        self.count_unseen(&listed, &present);
        self.forget_gone();
        if is_mounted {
            self.expire_entries(&present);
        }
        self.desk.first_listing_done = true;
    }

    fn is_wanted(&self, pod: &pod_path::PodName) -> bool {
        let config::Source {
            own_namespace,
            own_pod,
            own_uid,
            exclude,
            ..
        } = &self.config;
        let own_by_uid = !own_uid.is_empty() && *pod.uid == **own_uid;
        let own = !own_pod.is_empty()
            && *pod.pod == **own_pod
            && (own_namespace.is_empty() || *pod.namespace == **own_namespace);
        let excluded = exclude.namespaces.iter().any(|glob| glob.matches(&pod.namespace))
            || exclude.pods.iter().any(|glob| glob.matches(&pod.pod));
        !own && !own_by_uid && !excluded
    }

    fn on_root_error(&mut self, error: &io::Error) {
        self.watched.remove("");
        let path = self.config.pod_logs_dir.display().to_string();
        let text = error.to_string();
        if self.root_problem.as_ref() != Some(&text) {
            self.desk.counts.read_errors += 1;
            warn!(
                path,
                error = text,
                "cannot list the pod log directory; is it mounted, and may this user read it? Trying again"
            );
            self.root_problem = Some(text);
        }
        // Where there is no directory nothing can be said of its files: none is forgotten, each is read on.
        self.desk.first_listing_done |= error.kind() == io::ErrorKind::NotFound;
    }

    /// Containers whose directory is gone and whose files are delivered.
    fn forget_gone(&mut self) {
        let over: Vec<Arc<str>> = self
            .containers
            .iter()
            .filter(|(_, container)| container.is_over())
            .map(|(path, _)| path.clone())
            .collect();
        let gone: Vec<Box<Container>> = over
            .iter()
            .filter_map(|path| self.containers.remove(path))
            .collect();
        let empty = gone.iter().filter(|container| container.is_unseen()).count();
        self.desk.on_never_seen(empty);
        let mut uids: BTreeSet<Arc<str>> = gone
            .into_iter()
            .map(|container| container.place.pod.uid)
            .collect();
        if uids.is_empty() {
            return;
        }
        for container in self.containers.values() {
            uids.remove(&container.place.pod.uid);
        }
        for uid in uids {
            self.desk.directory.forget(&uid);
        }
    }

    /// Pod directories that were made and are gone again before a container was seen in them: there may have been lines.
    fn count_unseen(&mut self, listed: &BTreeSet<String>, present: &BTreeSet<Arc<str>>) {
        for name in std::mem::take(&mut self.born) {
            let has_container = |paths: Option<&Arc<str>>| paths.is_some_and(|path| path.starts_with(&name));
            let seen = has_container(from(present, &name))
                || has_container(
                    self.containers
                        .range::<str, _>((Included(name.as_str()), Unbounded))
                        .next()
                        .map(|(path, _)| path),
                );
            let is_pod = pod_path::pod_dir(&name).is_some_and(|pod| self.is_wanted(&pod));
            if seen || !is_pod {
                continue;
            }
            if listed.contains(&name) {
                self.born.insert(name);
            } else {
                self.desk.on_never_seen(1);
            }
        }
    }

    /// Entries of the last checkpoint whose files went away while nobody read them.
    fn expire_entries(&mut self, present: &BTreeSet<Arc<str>>) {
        let containers = &self.containers;
        let gone = |entry: &Entry| {
            let path = format!(
                "{}_{}_{}/{}",
                entry.namespace, entry.pod, entry.uid, entry.container
            );
            match containers.get(path.as_str()) {
                Some(container) => container.knows_all(entry.restart),
                None => !present.contains(path.as_str()),
            }
        };
        for entry in self.desk.registry.expire(gone) {
            self.desk.on_expired(&entry);
        }
    }

    pub(super) fn start_watch(&mut self) {
        let Some(notes) = self.notes.take() else { return };
        let root = self.config.pod_logs_dir.clone();
        let on_event = move |event: notify::Result<notify::Event>| {
            let note = match event {
                Ok(event) if event.need_rescan() => Note::Overflow,
                Ok(event) if event.kind.is_access() => return,
                Ok(event) if event.kind.is_create() => {
                    let path = event.paths.first().filter(|path| path.parent() == Some(&root));
                    let name = path.and_then(|path| path.file_name()?.to_str());
                    name.map_or(Note::Changed, |name| Note::Born(name.to_owned()))
                }
                Ok(_) => Note::Changed,
                Err(_) => Note::Overflow,
            };
            // A closed channel means that the reader has ended; there is nobody to tell.
            let _ = notes.send(note);
        };
        match notify::recommended_watcher(on_event) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => self.on_watch_error("", &error),
        }
    }

    /// Watches a directory, not below it: container directories are looked at by their mtime.
    fn watch(&mut self, name: &str) {
        let Some(watcher) = &mut self.watcher else { return };
        if self.watched.contains(name) {
            return;
        }
        match watcher.watch(&self.config.pod_logs_dir.join(name), RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(name.to_owned());
                self.desk.watching = true;
            }
            Err(error) => self.on_watch_error(name, &error),
        }
    }

    fn on_watch_error(&mut self, name: &str, error: &notify::Error) {
        if std::mem::replace(&mut self.desk.watching, false) || !self.desk.first_listing_done {
            let path = self.config.pod_logs_dir.join(name).display().to_string();
            warn!(path, %error, "cannot watch a directory (raise fs.inotify.max_user_watches or max_user_instances); new files are found by listing");
        }
        self.desk.counts.forced_rescans += 1;
    }
}

/// The first path that is not before `name`.
fn from<'a>(paths: &'a BTreeSet<Arc<str>>, name: &str) -> Option<&'a Arc<str>> {
    paths.range::<str, _>((Included(name), Unbounded)).next()
}

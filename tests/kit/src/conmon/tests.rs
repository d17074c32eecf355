use super::*;

/// Tests that need the real thing are named `e2e…`: `tests/run unit` leaves them out, and everywhere else a missing conmon
/// is a failure that says what to install.
fn run(log: &Path, script: &str) -> Conmon {
    Conmon::run_script(log, script).unwrap_or_else(|error| panic!("{error}"))
}

/// The messages of a k8s-file log, `P` pieces joined.
fn messages(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap();
    let mut all = vec![String::new()];
    for line in text.lines() {
        let mut fields = line.splitn(4, ' ').skip(2);
        let (tag, content) = (fields.next().unwrap(), fields.next().unwrap());
        all.last_mut().unwrap().push_str(content);
        if tag == "F" {
            all.push(String::new());
        }
    }
    assert_eq!(
        all.pop().as_deref(),
        Some(""),
        "{} ends in a partial line",
        log.display()
    );
    all
}

#[test]
fn e2e_thousand_lines_survive_rotation_in_order() {
    let dir = TempDir::new().unwrap();
    let log = log_path(dir.path(), ["shop", "web-0", "36eda95a"], "app", 0);
    let script = "for i in $(seq 1000); do echo line $i; usleep 500; done; head -c 20000 /bin/busybox | tr -c x x; exit 3";
    let container = run(&log, script);

    let mut files = Vec::new();
    for _ in 0..3 {
        let written = || fs::metadata(&log).is_ok_and(|m| m.len() > 2_000).then_some(());
        poll_until(Instant::now() + STEP_TIMEOUT, written).expect("lines before each rotation");
        files.push(container.rotate().unwrap());
    }
    assert_eq!(container.wait(STEP_TIMEOUT * 3).unwrap(), 3);
    assert!(container.has_ended());
    files.push(log);

    // A rotation may cut a line of the pipe: pieces are joined over the files, in their order.
    let joined = dir.path().join("joined");
    fs::write(
        &joined,
        files
            .iter()
            .map(|file| fs::read_to_string(file).unwrap())
            .collect::<String>(),
    )
    .unwrap();
    let text = fs::read_to_string(&joined).unwrap();
    assert!(text.contains("+00:00 stdout "), "{}", &text[..200]);
    let last_partial = text.trim_end().lines().last().unwrap().split(' ').nth(2) == Some("P");
    fs::write(
        &joined,
        if last_partial {
            format!("{text}t stdout F \n")
        } else {
            text
        },
    )
    .unwrap();
    let expected = (1..=1000)
        .map(|i| format!("line {i}"))
        .chain(["x".repeat(20_000)]);
    assert!(messages(&joined).into_iter().eq(expected));
}

#[test]
fn e2e_rotation_of_an_ended_container_gives_the_name_back() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("0.log");
    let container = run(&log, "echo only line");
    assert_eq!(container.wait(STEP_TIMEOUT).unwrap(), 0);
    assert!(container.rotate().is_err());
    assert_eq!(messages(&log), ["only line"]);
}

#[test]
fn e2e_dropped_container_ends_and_leaves_its_log() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("0.log");
    let container = run(&log, "echo here; sleep 1000");
    let written = || fs::metadata(&log).is_ok_and(|m| m.len() > 0).then_some(());
    poll_until(Instant::now() + STEP_TIMEOUT, written).unwrap();
    assert!(container.wait(Duration::ZERO).is_err(), "still running");
    let (pid, own) = (container.conmon_pid().unwrap(), container.dir.path().to_owned());
    drop(container);
    assert!(
        fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()))
            .unwrap_or_default()
            .is_empty()
    );
    assert!(!own.exists());
    assert_eq!(messages(&log), ["here"]);
}

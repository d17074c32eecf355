//! Pods that come and go while nothing can be delivered: what their deleted files hold is bounded, and what is given up is
//! counted to the byte.

use super::Ground;
use crate::traffic::{Solo, tell};
use serde_json::json;

const PODS: usize = 40;
/// Bytes of one line, and lines of one pod: 256 KiB.
const PAD: usize = 500;
const LINES: u64 = 500;
/// What deleted files may hold: eight pods' lines.
const LIMIT: u64 = 2 << 20;

/// Red without `limit_deleted`, when a file is given up and not counted, or when it is counted and then read.
#[test]
fn deleted_files_hold_no_more_than_their_limit_and_the_rest_is_counted_to_the_byte() {
    let mut ground = Ground::new();
    ground.server.off();
    let config = &mut ground.lodging.config;
    config["source"]["max_line"] = "64KiB".into();
    config["source"]["max_deleted_bytes"] = LIMIT.into();
    config["batch"]["max_bytes"] = "128KiB".into();
    config["memory"] = json!({"in_flight": "256KiB"});
    config["spool"] = json!({"min_free": "0%", "max_bytes": "512KiB", "segment_bytes": "128KiB"});
    let mut agent = ground.lodging.start();
    let (mut written, mut most) = (0, 0);
    for number in 0..PODS {
        let name = format!("pod-{number}");
        let mut solo = Solo::new(&ground.node, &name, &ground.arrivals);
        solo.write(LINES, PAD);
        written += solo.bytes;
        agent.wait_for("the file to be seen", |agent| {
            let page = agent.get(&format!("/status?pod={name}")).expect("it runs").1;
            let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
            page["reader"]["files"][0]["size"] == solo.bytes
        });
        solo.pod.delete_pod().unwrap();
        most = most.max(agent.status().0["reader"]["deleted_bytes"].as_u64().unwrap());
    }
    let given_up = |agent: &crate::agent::Agent| {
        agent.status().0["ledger"]["lost_unread"]["deleted_over_limit"]["bytes"].as_u64()
    };
    agent.wait_for("the first deleted to be given up", |agent| {
        given_up(agent) > Some(0)
    });
    ground.server.on();
    agent.wait_for("all that was kept", |agent| {
        let status = agent.status();
        status.is_at_rest() && status.ledger("read") + status.lost_unread() >= written
    });
    let (status, report) = (agent.status(), ground.arrivals.report());
    tell(&format!(
        "deleted: {written} bytes of {PODS} pods, deleted files held at most {most}, given up and counted {:?}, read {}; {report}",
        given_up(&agent),
        status.ledger("read")
    ));
    assert!(most <= LIMIT, "{most} bytes held");
    assert_eq!(status.ledger("read") + status.lost_unread(), written);
    let missing = status.lost_unread() / (written / (PODS as u64 * LINES));
    assert!(
        report.duplicate == 0 && report.lost > 0 && report.lost.abs_diff(missing) <= missing / 100 + 1,
        "{report}, {missing} counted"
    );
    agent.terminate().assert_clean();
}

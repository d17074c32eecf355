//! Elasticsearch is away when the agent starts, and the files are gone when it comes back.

use super::{MORNING_NS, Scene, Talker};
use crate::agent::Agent;
use longshore_kit::simkubelet::{Node, NodeConfig};
use serde_json::json;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;

/// A port that refuses connections until it is opened, and then leads to another one.
struct Gate {
    runtime: Runtime,
    socket: Option<TcpSocket>,
    address: SocketAddr,
}

impl Gate {
    /// Takes a port without listening to it: nobody else gets it, and whoever connects is refused.
    fn closed() -> Gate {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = socket.local_addr().unwrap();
        Gate {
            runtime,
            socket: Some(socket),
            address,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on connections lead to `url`.
    fn open(&mut self, url: &str) {
        let target = url.strip_prefix("http://").expect("a plain URL").to_owned();
        let socket = self.socket.take().expect("a gate is opened once");
        self.runtime.spawn(async move {
            let listener = socket.listen(64).unwrap();
            lead(&listener, &target).await;
        });
    }
}

async fn lead(listener: &TcpListener, target: &str) {
    while let Ok((mut near, _)) = listener.accept().await {
        let target = target.to_owned();
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(&target).await else {
                return;
            };
            // However a connection ends: the agent sees the end and connects again.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

/// Red without `spill` in `Flight::poll` (then the end of the process is not clean), or when `on_frame_found` forgets a frame.
#[test]
fn e2e_outage_at_the_start_is_bridged_by_the_spool() {
    let mut scene = Scene::new("outage");
    let mut gate = Gate::closed();
    scene.lodging.config["sink"]["elasticsearch"]["hosts"] = json!([gate.url()]);
    let node = Node::with(
        scene.lodging.root(),
        NodeConfig {
            max_files: 2,
            ..NodeConfig::default()
        },
    )
    .unwrap();
    let mut agent = scene.lodging.start();
    let pod = node.pod("shop", "web-0", "uid-web");
    let mut log = pod.container("app").unwrap();
    let mut talker = Talker::new("outage");
    for _ in 0..6 {
        talker.say(&mut log, MORNING_NS, 100);
        read(&mut agent, talker.bytes);
        log.rotate().unwrap();
    }
    assert!(log.rotated_files().unwrap().len() < 3, "older ones were removed");
    pod.delete_pod().unwrap();

    // What is in the spool outlives the process; what is read only is lost with it, so nothing is.
    let ended = agent.terminate();
    ended.assert_clean();
    assert!(
        ended
            .last_line()
            .contains(&format!("{} source bytes stay in the spool", talker.bytes)),
        "{}",
        ended.last_line()
    );
    let mut agent = scene.lodging.start();
    agent.wait_for("the spool to be found", |agent| {
        agent.status().ledger("recovered") == talker.bytes
    });
    gate.open(&scene.es.url());
    let status = agent.wait_until_delivered(talker.bytes);
    status.assert_nothing_lost();
    assert_eq!(status.ledger("acked"), talker.bytes);
    agent.terminate().assert_clean();
    scene.assert_exactly_once([&talker]);
}

/// Waits until so many bytes were read.
fn read(agent: &mut Agent, bytes: u64) {
    agent.wait_for("the agent to read on", |agent| {
        agent.status().ledger("read") >= bytes
    });
}

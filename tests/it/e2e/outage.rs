//! Elasticsearch is away when the agent starts, and the files are gone when it comes back.

use super::{MORNING_NS, Scene, Talker};
use crate::agent::{Agent, Status};
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

/// A node whose agent finds no Elasticsearch.
struct Outage {
    scene: Scene,
    gate: Gate,
    talker: Talker,
}

impl Outage {
    fn new(name: &str) -> Outage {
        let mut scene = Scene::new(name);
        let gate = Gate::closed();
        scene.lodging.config["sink"]["elasticsearch"]["hosts"] = json!([gate.url()]);
        Outage {
            scene,
            gate,
            talker: Talker::new(name),
        }
    }

    /// Files are written, rotated, compressed, removed, and at last the whole pod is deleted, each when it was read.
    fn pass_by(&mut self, agent: &mut Agent) {
        let config = NodeConfig {
            max_files: 2,
            ..NodeConfig::default()
        };
        let node = Node::with(self.scene.lodging.root(), config).unwrap();
        let pod = node.pod("shop", "web-0", "uid-web");
        let mut log = pod.container("app").unwrap();
        for _ in 0..6 {
            self.talker.say(&mut log, MORNING_NS, 100);
            let bytes = self.talker.bytes;
            agent.wait_for("the lines to be read", |agent| {
                agent.status().ledger("read") >= bytes
            });
            log.rotate().unwrap();
        }
        let left = log.rotated_files().unwrap().len();
        assert!(left < 3, "{left} rotated files; older ones were to be removed");
        pod.delete_pod().unwrap();
    }

    /// Waits until all of it is on disk.
    fn wait_until_spooled(&self, agent: &mut Agent) {
        agent.wait_for("all lines to be in the spool", |agent| {
            let status = agent.status();
            status.ledger("spooled") == self.talker.bytes && status.ledger("in_flight") == 0
        });
    }

    /// The agent has the spool of the one before it.
    fn start_again(&self) -> Agent {
        let mut agent = self.scene.lodging.start();
        agent.wait_for("the spool to be found", |agent| {
            agent.status().ledger("recovered") == self.talker.bytes
        });
        agent
    }

    /// Elasticsearch appears: each line arrives once.
    fn end(mut self, mut agent: Agent) -> Status {
        self.gate.open(&self.scene.es.url());
        let status = agent.wait_until_delivered(self.talker.bytes);
        assert_eq!(status.ledger("acked"), self.talker.bytes);
        agent.terminate().assert_clean();
        self.scene.assert_exactly_once([&self.talker]);
        status
    }
}

/// Red when `Flight::on_spooled` forgets a frame.
#[test]
fn e2e_outage_is_bridged_by_the_spool() {
    let mut outage = Outage::new("outage");
    let mut agent = outage.scene.lodging.start();
    outage.pass_by(&mut agent);
    outage.wait_until_spooled(&mut agent);
    outage.end(agent).assert_nothing_lost();
}

/// Red without `spill` in `Flight::poll` (the end is not clean), or when `Flight::on_frame_found` forgets a frame.
#[test]
fn e2e_outage_and_restart() {
    let mut outage = Outage::new("outage-restart");
    let mut agent = outage.scene.lodging.start();
    outage.pass_by(&mut agent);
    let ended = agent.terminate();
    ended.assert_clean();
    let stays = format!("{} source bytes stay in the spool", outage.talker.bytes);
    assert!(ended.last_line().contains(&stays), "{}", ended.last_line());
    let agent = outage.start_again();
    outage.end(agent).assert_nothing_lost();
}

/// Red when `Spool::recover` passes a frame over, or when the spool says that a frame is written before it is.
#[test]
fn e2e_outage_and_kill() {
    let mut outage = Outage::new("outage-kill");
    let mut agent = outage.scene.lodging.start();
    outage.pass_by(&mut agent);
    outage.wait_until_spooled(&mut agent);
    agent.kill();
    let agent = outage.start_again();
    let status = outage.end(agent);
    // Not `lost_unread`: the last checkpoint may be older than the last frame, and the files are gone.
    assert_eq!((status.imbalance(), status.dropped()), (0, 0));
}

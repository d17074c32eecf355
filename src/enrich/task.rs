//! The loop of the pod watch: what the API server tells goes into the [`Directory`], how it does goes onto the board.
//!
//! Readers are told at once: of a pod when it is new, and of an outage when the first request fails or is slow, so
//! that they wait for nothing in vain. An API server that is away is asked again and again, with growing pauses; it
//! never ends this task. The log has one line for each change of state.

use super::cache::{Cache, Directory, State};
use super::client::{ApiServer, News, Settings};
use super::failure::{Failure, Kind};
use super::metadata::{NamespaceRecord, PodRecord};
use super::watch::{Action, PodWatch};
use crate::sync::tokio::sync::watch;
use crate::telemetry::board::{Board, WatchStatus};
use futures::stream::{BoxStream, StreamExt};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout};
use tracing::{debug, error, info, warn};

/// A request that takes longer than this counts as an outage for those who wait, though it goes on.
const SLOW: Duration = Duration::from_secs(3);
/// A request that takes longer than this is given up.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// How long the server is asked to keep a watch, in seconds: by chance, so that a fleet does not come back in step.
const WATCH_SECONDS: Range<u32> = 200..290;
/// A watch that says nothing for so long is dead: servers send a bookmark every minute.
const DEAD: Duration = Duration::from_secs(150);
/// Namespaces change rarely, and no one is told when they do.
const NAMESPACES_REFRESH: Duration = Duration::from_secs(3600);
/// When namespaces could not be read they are tried again after this.
const NAMESPACES_RETRY: Duration = Duration::from_secs(300);

/// Watches the pods of one node until `stop` says true or its sender is gone. `changed` is called after each change
/// of what the directory knows.
pub async fn run(
    settings: Settings,
    directory: Arc<Directory>,
    board: Arc<Board>,
    changed: impl Fn() + Send,
    mut stop: watch::Receiver<bool>,
) {
    let mut task = Task {
        settings,
        directory,
        board,
        changed,
        plan: PodWatch::new(),
        server: None,
        status: WatchStatus::default(),
        trouble: None,
        namespaces_due: now() + NAMESPACES_REFRESH,
        namespaces_refused: false,
    };
    tokio::select! {
        _ = stop.wait_for(|stopped| *stopped) => {}
        () = task.follow_for_ever() => {}
    }
}

struct Task<F> {
    settings: Settings,
    directory: Arc<Directory>,
    board: Arc<Board>,
    changed: F,
    plan: PodWatch,
    /// Given up after a failure: address, token and CA are read anew then.
    server: Option<ApiServer>,
    status: WatchStatus,
    /// The kind of failure that the log was told of last, while it lasts.
    trouble: Option<Kind>,
    namespaces_due: Instant,
    /// They could not be read; until they are due nobody asks.
    namespaces_refused: bool,
}

impl<F: Fn() + Send> Task<F> {
    async fn follow_for_ever(&mut self) {
        self.publish();
        loop {
            let outcome = match self.plan.poll(now()) {
                Some(Action::List) => self.list().await,
                Some(Action::Watch { version }) => self.watch(&version).await,
                None => {
                    if let Some(deadline) = self.plan.next_deadline() {
                        sleep_until(deadline.into()).await;
                    }
                    Ok(())
                }
            };
            if let Err(failure) = outcome {
                self.failed(&failure);
            }
        }
    }

    async fn list(&mut self) -> Result<(), Failure> {
        let server = self.server().await?;
        self.status.lists += 1;
        self.publish();
        let list = self.answer(&server, "listing pods", server.list()).await?;
        self.plan.on_listed(list.resource_version());
        let selection = &self.settings.selection;
        let pods = list
            .items
            .into_iter()
            .filter_map(|pod| PodRecord::new(pod, selection))
            .collect();
        self.change(|cache| cache.on_list(pods));
        Ok(())
    }

    async fn watch(&mut self, version: &str) -> Result<(), Failure> {
        let server = self.server().await?;
        self.status.watches += 1;
        self.publish();
        let seconds =
            WATCH_SECONDS.start + (random() % u64::from(WATCH_SECONDS.end - WATCH_SECONDS.start)) as u32;
        let events = self
            .answer(&server, "watching pods", server.watch(version, seconds))
            .await?;
        self.plan.on_opened(now());
        self.went_live();
        self.read_namespaces(&server).await;
        self.follow(&server, events).await
    }

    /// Until the watch ends, which is no failure, however it ends: the next request will tell.
    async fn follow(
        &mut self,
        server: &ApiServer,
        mut events: BoxStream<'static, Result<News, Failure>>,
    ) -> Result<(), Failure> {
        loop {
            match timeout(DEAD, events.next()).await {
                Ok(Some(Ok(news))) => self.on_news(news),
                Ok(Some(Err(failure))) if failure.kind != Kind::Unreachable => return Err(failure),
                Ok(Some(Err(_)) | None) | Err(_) => break,
            }
            self.read_namespaces(server).await;
        }
        self.plan.on_ended(now(), random());
        Ok(())
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::Applied(pod) => {
                self.plan.on_version(pod.resource_version());
                if let Some(pod) = PodRecord::new(pod, &self.settings.selection) {
                    self.change(|cache| cache.on_applied(pod));
                }
            }
            News::Deleted(pod) => {
                self.plan.on_version(pod.resource_version());
                if let Some(pod) = PodRecord::new(pod, &self.settings.selection) {
                    self.change(|cache| cache.on_deleted(&pod.uid));
                }
            }
            News::Bookmark(version) => self.plan.on_version(&version),
        }
    }

    /// Asks for namespaces that nobody has asked for, and for all of them when they are due. A failure is not asked
    /// for again with each new pod.
    async fn read_namespaces(&mut self, server: &ApiServer) {
        let due = now() >= self.namespaces_due;
        let names = self.directory.with(|cache| {
            if due {
                cache.namespaces_in_use()
            } else {
                cache.namespaces_wanted()
            }
        });
        if due {
            self.namespaces_due = now() + NAMESPACES_REFRESH;
            self.namespaces_refused = false;
        }
        for name in names {
            let record = if self.namespaces_refused {
                None
            } else {
                self.namespace(server, &name).await
            };
            self.change(|cache| cache.on_namespace(&name, record));
        }
    }

    async fn namespace(&mut self, server: &ApiServer, name: &str) -> Option<NamespaceRecord> {
        let answer = timeout(SLOW, server.namespace(name)).await;
        match answer.unwrap_or_else(|_| Err(server.silent("getting a namespace", SLOW))) {
            Ok(object) => Some(object.into()),
            Err(failure) if failure.kind == Kind::Absent => None,
            Err(failure) => {
                warn!("documents of some namespaces go without namespace labels: {failure}");
                self.namespaces_refused = true;
                self.namespaces_due = now() + NAMESPACES_RETRY;
                None
            }
        }
    }

    async fn server(&mut self) -> Result<ApiServer, Failure> {
        if let Some(server) = &self.server {
            return Ok(server.clone());
        }
        let server = ApiServer::connect(&self.settings).await?;
        self.server = Some(server.clone());
        Ok(server)
    }

    /// Waits for an answer, and tells readers when they had better not.
    async fn answer<T>(
        &mut self,
        server: &ApiServer,
        what: &str,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut request = pin!(request);
        if let Ok(answer) = timeout(SLOW, &mut request).await {
            return answer;
        }
        self.went_down(&server.silent(what, SLOW));
        let answer = timeout(GIVEN_UP - SLOW, request).await;
        answer.unwrap_or_else(|_| Err(server.silent(what, GIVEN_UP)))
    }

    fn failed(&mut self, failure: &Failure) {
        self.plan.on_failure(failure, now(), random());
        if failure.kind == Kind::Expired {
            debug!("the pods are listed anew: {failure}");
            return;
        }
        self.server = None;
        self.went_down(failure);
    }

    fn went_live(&mut self) {
        let was = self.directory.with(|cache| cache.state());
        self.trouble = None;
        self.status.problem = None;
        self.change(|cache| cache.on_state(State::Live));
        let (node, pods) = (&self.settings.node, self.status.pods);
        match was {
            State::Down => info!(%node, pods, "the API server answers again, metadata of pods is up to date"),
            State::Starting => {
                info!(%node, pods, "metadata of pods is up to date, the API server tells of changes")
            }
            State::Live | State::Off => {}
        }
    }

    fn went_down(&mut self, failure: &Failure) {
        if self.trouble != Some(failure.kind) {
            self.trouble = Some(failure.kind);
            match failure.needs_a_person() {
                true => error!("new pods' documents go without labels: {failure}"),
                false => warn!("new pods' documents go without labels: {failure}"),
            }
        }
        self.status.errors += 1;
        self.status.problem = Some(failure.to_string());
        self.change(|cache| cache.on_state(State::Down));
    }

    fn change(&mut self, act: impl FnOnce(&mut Cache)) {
        let before = self.directory.version();
        self.directory.with(act);
        if self.directory.version() != before {
            (self.changed)();
        }
        self.publish();
    }

    fn publish(&mut self) {
        (self.status.state, self.status.pods) =
            self.directory.with(|cache| (cache.state().as_str(), cache.len()));
        self.board.watch().clone_from(&self.status);
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of the pod watch")]
fn now() -> Instant {
    Instant::now()
}

/// Good enough to spread a fleet.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests;

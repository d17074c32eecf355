//! The one tokio task of the sink: batches, reports of the disks, answers, deadlines and the wish to
//! stop enter; requests, commands and acks leave.
//!
//! It decides nothing: every event becomes one call of [`Shipping`], and what that orders is done.
//! Requests are futures inside this task, so that nothing outlives it.

mod audit;
pub mod shipping;
mod status;

pub use self::shipping::Ended;
use self::shipping::{Clock, Order, Shipping};
use super::alarms::{Alarm, Severity};
use super::client::{Answer, Bulk, Client};
use super::flight::{FlightConfig, RequestId};
use super::hosts::HostId;
use crate::flow::budget::Budget;
use crate::record::{Ack, Batch};
use crate::sink::dead_letter::Appended;
use crate::sink::task as dead_letters;
use crate::spool::protocol as spool;
use crate::spool::segment::Found;
use crate::sync::tokio::sync::{mpsc, watch};
use crate::sync::{self, mpsc as std_mpsc, tokio};
use crate::telemetry::board::Board;
use futures::future::{self, AbortHandle, Abortable, Aborted, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tracing::{error, info, warn};

/// What the sink is connected to.
pub struct Wiring {
    /// Batches of the readers. Their budget share is taken, and the ledger knows of them, before they
    /// are sent here.
    pub batches: mpsc::Receiver<Batch>,
    /// To the spool's thread. When the sink ends it is dropped, which ends that thread.
    pub spool: std_mpsc::Sender<spool::Command>,
    /// From the spool's thread.
    pub spool_reports: mpsc::UnboundedReceiver<spool::Report>,
    /// To the dead-letter file's thread; dropped likewise.
    pub dead_letters: std_mpsc::Sender<dead_letters::Command>,
    /// From the dead-letter file's thread.
    pub dead_letter_reports: mpsc::UnboundedReceiver<dead_letters::Report>,
    /// Frames that the spool held at the start.
    pub found: Vec<Found>,
    /// Called for each batch that is done, in the sink's task: it must not wait.
    pub acked: Box<dyn FnMut(Ack) + Send>,
    /// Where permits go back to.
    pub budget: Arc<Budget>,
    /// Ledger and status.
    pub board: Arc<Board>,
    /// Becomes true when the process is to end.
    pub stop: watch::Receiver<bool>,
}

/// Everything that can happen to the sink.
enum Event {
    Batch(Option<Batch>),
    Spool(Option<spool::Report>),
    DeadLetter(Option<dead_letters::Report>),
    Answer(RequestId, Answer),
    /// A request that nobody waits for any more has ended.
    Forgotten,
    Deadline,
    Stop,
}

/// Where bodies are posted: the [`Client`], or what a test puts in its place.
pub trait Post: Send + Sync + 'static {
    /// Posts a body to a host. Never fails: an [`Answer`] says what went wrong.
    fn post(&self, host: HostId, bulk: Bulk) -> impl Future<Output = Answer> + Send;

    /// Asks a host which documents (index and id) are there.
    fn look_up(&self, host: HostId, names: Vec<(String, String)>) -> impl Future<Output = Answer> + Send;
}

impl Post for Client {
    fn post(&self, host: HostId, bulk: Bulk) -> impl Future<Output = Answer> + Send {
        Client::post(self, host, bulk)
    }

    fn look_up(&self, host: HostId, names: Vec<(String, String)>) -> impl Future<Output = Answer> + Send {
        Client::look_up(self, host, names)
    }
}

struct Task<C> {
    client: Arc<C>,
    shipping: Shipping,
    wiring: Wiring,
    requests: FuturesUnordered<Abortable<BoxFuture<'static, (RequestId, Answer)>>>,
    aborts: BTreeMap<RequestId, AbortHandle>,
    batches_open: bool,
    spool_open: bool,
    dead_letters_open: bool,
}

/// Runs the sink until it is asked to stop. `seed` is any number: it jitters the delays.
pub async fn run<C: Post>(client: C, config: FlightConfig, wiring: Wiring, seed: u64) -> Ended {
    let mut task = Task::new(client, config, wiring, seed);
    loop {
        task.execute().await;
        if task.shipping.is_done(clock().now) {
            return task.end();
        }
        let event = task.next_event().await;
        task.on_event(event);
    }
}

impl<C: Post> Task<C> {
    fn new(client: C, config: FlightConfig, mut wiring: Wiring, seed: u64) -> Task<C> {
        let (budget, board) = (Arc::clone(&wiring.budget), Arc::clone(&wiring.board));
        let mut shipping = Shipping::new(config, budget, board, seed);
        shipping.recover(std::mem::take(&mut wiring.found), clock().now);
        Task {
            client: Arc::new(client),
            shipping,
            wiring,
            requests: FuturesUnordered::new(),
            aborts: BTreeMap::new(),
            batches_open: true,
            spool_open: true,
            dead_letters_open: true,
        }
    }

    /// Waits for the next event.
    async fn next_event(&mut self) -> Event {
        let deadline = self.shipping.next_deadline();
        let stopping = self.shipping.is_stopping();
        let Wiring {
            batches,
            spool_reports,
            dead_letter_reports,
            stop,
            ..
        } = &mut self.wiring;
        tokio::select! {
            Some(ended) = self.requests.next() => match ended {
                Ok((request, answer)) => Event::Answer(request, answer),
                Err(Aborted) => Event::Forgotten,
            },
            report = spool_reports.recv(), if self.spool_open => Event::Spool(report),
            report = dead_letter_reports.recv(), if self.dead_letters_open => Event::DeadLetter(report),
            batch = batches.recv(), if self.batches_open => Event::Batch(batch),
            // A sender that is gone can ask for nothing any more: that is a wish to stop, too.
            _ = stop.wait_for(|stop| *stop), if !stopping => Event::Stop,
            () = sleep_until(deadline) => Event::Deadline,
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Batch(Some(batch)) => self.shipping.on_batch(batch, clock()),
            Event::Batch(None) => {
                self.batches_open = false;
                self.shipping.on_batches_ended(clock());
            }
            Event::Spool(Some(report)) => self.shipping.on_spool(report, clock()),
            Event::Spool(None) => {
                self.spool_open = false;
                error!("the spool's thread has ended: nothing can be spooled any more");
            }
            Event::DeadLetter(Some(report)) => self.shipping.on_dead_letter(report, clock()),
            Event::DeadLetter(None) => {
                self.dead_letters_open = false;
                error!("the dead-letter file's thread has ended: refused documents have no place to go");
            }
            Event::Answer(request, answer) => {
                self.aborts.remove(&request);
                self.shipping.on_answer(request, answer, clock());
            }
            Event::Stop => self.shipping.on_stop(clock()),
            Event::Deadline | Event::Forgotten => {}
        }
    }

    /// Does all that is due.
    async fn execute(&mut self) {
        let mut is_sending = false;
        loop {
            if std::mem::take(&mut is_sending) && self.shipping.is_behind() {
                self.let_go().await;
            }
            let Some(order) = self.shipping.poll(clock()) else {
                return;
            };
            is_sending = matches!(order, Order::Send { .. });
            self.carry_out(order);
        }
    }

    /// Requests get on their way before something else takes this thread's time.
    async fn let_go(&mut self) {
        tokio::select! {
            biased;
            Some(ended) = self.requests.next() => {
                let event = ended.map_or(Event::Forgotten, |(request, answer)| Event::Answer(request, answer));
                self.on_event(event);
            }
            () = tokio::task::yield_now() => {}
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Send { request, host, bulk } => {
                let client = Arc::clone(&self.client);
                self.ask(
                    request,
                    async move { (request, client.post(host, bulk).await) }.boxed(),
                );
            }
            Order::LookUp { request, host, names } => {
                let client = Arc::clone(&self.client);
                self.ask(
                    request,
                    async move { (request, client.look_up(host, names).await) }.boxed(),
                );
            }
            Order::Forget(request) => {
                if let Some(abort) = self.aborts.remove(&request) {
                    abort.abort();
                }
            }
            Order::Hush => {
                self.requests.clear();
                self.aborts.clear();
            }
            Order::Spool(command) => {
                // Without a thread nothing is read and nothing has to be marked: frames stay where they are.
                if let Err(std_mpsc::SendError(spool::Command::Append { parcel, .. })) =
                    self.wiring.spool.send(command)
                {
                    let refused = spool::Report::Appended { parcel, frame: None };
                    self.shipping.on_spool(refused, clock());
                }
            }
            Order::DeadLetter(command) => {
                if let Err(std_mpsc::SendError(dead_letters::Command::Append { parcel, .. })) =
                    self.wiring.dead_letters.send(command)
                {
                    let refused = dead_letters::Report::Appended {
                        parcel,
                        appended: Appended::Failed,
                        bytes: 0,
                    };
                    self.shipping.on_dead_letter(refused, clock());
                }
            }
            Order::Ack(ack) => (self.wiring.acked)(ack),
            Order::Tell(alarm) => tell(&alarm),
        }
    }

    fn ask(&mut self, request: RequestId, answer: BoxFuture<'static, (RequestId, Answer)>) {
        let (answer, abort) = future::abortable(answer);
        self.requests.push(answer);
        self.aborts.insert(request, abort);
    }

    fn end(mut self) -> Ended {
        let rest = std::iter::from_fn(|| self.wiring.batches.try_recv().ok()).collect();
        let (ended, told) = self.shipping.end(rest, clock().now);
        told.iter().for_each(tell);
        ended
    }
}

fn tell(alarm: &Alarm) {
    match alarm.severity {
        Severity::Alarm => error!("{}", alarm.text),
        Severity::Warning => warn!("{}", alarm.text),
        Severity::Relief => info!("{}", alarm.text),
    }
}

fn clock() -> Clock {
    Clock {
        now: sync::now(),
        unix: sync::unix(),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sync::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

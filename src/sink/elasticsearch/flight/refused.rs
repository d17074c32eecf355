//! What becomes of documents that the server refuses: they are sent again, poorer each time, and come to the dead-letter
//! file when it refuses them even so.
//!
//! The documents as they were stay with the parcel: they are what a spool write, a dead letter or another index's hold
//! gets, so that nothing but this process knows of the attempt. After a restart it begins anew.
//!
//! When nearly all documents for an index are refused alike, that may be a fault of the index (a pipeline, a mapping that
//! nobody has seen yet). Then the poorer documents tell: when one of them is taken, it was the documents; when they
//! are refused alike in every form, too, the index is on hold.

use super::verdicts::{Apart, Sorted};
use super::{Flight, Moment, Parcel, ParcelId, Writing};
use crate::codec::body::{Texts, merge, replace};
use crate::codec::gzip::Damaged;
use crate::config::{Schema, WhenLettersFull};
use crate::record::{Body, Fate};
use crate::sink::dead_letter::{self, Appended};
use crate::sink::elasticsearch::reduce;
use crate::sink::elasticsearch::response::Problem;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Of fewer documents for an index nothing is concluded about it.
const ALIKE_LEAST: usize = 20;
/// So many percent of an index's documents must be refused alike.
const ALIKE_PERCENT: usize = 90;

/// How poor documents are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    /// Without the field that was in the way.
    Shelved,
    /// Message and identity.
    Reduced,
    /// Without the end of the message.
    Shortened,
}

impl Stage {
    pub(super) const ALL: [Stage; 3] = [Stage::Shelved, Stage::Reduced, Stage::Shortened];

    /// For metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Stage::Shelved => "shelved",
            Stage::Reduced => "reduced",
            Stage::Shortened => "shortened",
        }
    }
}

/// Documents that are sent in a poorer form.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    stage: Stage,
    /// As they were.
    originals: Body,
    /// Nearly all for this index were refused alike.
    alike: bool,
}

impl Parcel {
    /// How its documents differ from those that came, and what is asked of the server with that: only alike ones may be
    /// in one body.
    pub(super) fn form(&self) -> Option<(Stage, bool)> {
        self.trial.as_ref().map(|trial| (trial.stage, trial.alike))
    }

    /// The documents as they were: what is to be kept of them.
    pub(super) fn original(&self) -> &Body {
        self.trial.as_ref().map_or(&self.body, |trial| &trial.originals)
    }
}

impl Trial {
    /// The same for some of the documents.
    pub(super) fn pick(&self, picked: &[usize], level: u8) -> Option<Trial> {
        let originals = Apart::new(&self.originals, level).ok()?.pick(picked);
        Some(Trial { originals, ..*self })
    }

    /// One for the documents of several, which are as poor as each other; in their order. There is one at least.
    pub(super) fn merged(trials: &[&Trial], level: u8) -> Result<Trial, Damaged> {
        let all = trials.iter().map(|trial| Apart::new(&trial.originals, level));
        let all = all.collect::<Result<Vec<_>, _>>()?;
        let originals = merge(all.iter().map(|apart| (apart.body(), apart.text())), level);
        Ok(Trial {
            originals,
            ..*trials[0]
        })
    }
}

impl Flight {
    /// Documents of a parcel were taken.
    pub(super) fn on_taken(&mut self, parcel: &Parcel, documents: usize) {
        if let Some(trial) = &parcel.trial {
            let name = trial.stage.as_str();
            let form = self.poorer.iter_mut().find(|(form, _)| *form == name);
            form.into_iter().for_each(|(_, taken)| *taken += documents as u64);
        }
    }

    /// Sends refused documents again in a poorer form, or buries them. `apart` is the body that was refused.
    pub(super) fn refuse(
        &mut self,
        parcel: &Parcel,
        apart: &Apart<'_>,
        sorted: &Sorted<'_>,
        permit: &mut u64,
        at: Moment,
    ) {
        let refused = &sorted.refused;
        let alike = alike(parcel, apart, sorted);
        let Some(trial) = &parcel.trial else {
            return self.refuse_originals(parcel, apart, refused, &alike, permit, at);
        };
        let Ok(originals) = Apart::new(&trial.originals, self.config.compression) else {
            // It was inflated when the trial began, so this does not happen; what was refused is buried.
            return self.bury(parcel, apart, refused, permit, at);
        };
        if trial.stage != Stage::Reduced {
            return self.refuse_originals(parcel, &originals, refused, &alike, permit, at);
        }
        let is_held = |(row, _): &&(usize, &Problem)| alike.contains(&apart.index_of(*row));
        let (held, dead): (Vec<_>, Vec<_>) = refused.iter().copied().partition(|each| is_held(&each));
        if !held.is_empty() {
            self.hold(parcel, &originals, &held, permit, at);
        }
        if !dead.is_empty() {
            self.refuse_originals(parcel, &originals, &dead, &[], permit, at);
        }
    }

    /// A request of one document was refused: for its size, which half of it may not have, or for what no poorer form
    /// heals, such as its id.
    pub(super) fn refuse_whole(
        &mut self,
        parcel: &Parcel,
        apart: &Apart<'_>,
        problem: &Problem,
        permit: &mut u64,
        at: Moment,
    ) {
        let (action, document) = apart.lines(0);
        let limit = parcel.body.inflated_len as usize / 2;
        let short = match problem.status {
            413 => reduce::shortened(document, limit, Schema::of_index(&dead_letter::target(action).0)),
            _ => None,
        };
        let originals = Apart::new(parcel.original(), self.config.compression);
        match (short, originals) {
            (Some(short), Ok(originals)) => {
                let documents = [(0, [action, b"\n", &short, b"\n"].concat())];
                let body = replace(originals.body(), &documents, self.config.compression);
                let trial = Trial {
                    stage: Stage::Shortened,
                    originals: originals.body().clone(),
                    alike: false,
                };
                self.send_poorer(parcel, &[0], body, trial, permit, at);
            }
            (None, Ok(originals)) => self.bury(parcel, &originals, &[(0, problem)], permit, at),
            (_, Err(_)) => self.bury(parcel, apart, &[(0, problem)], permit, at),
        }
    }

    /// They go at once when nothing else wants to, or when it is the index that may be at fault; else they ride.
    fn send_poorer(
        &mut self,
        parcel: &Parcel,
        picked: &[usize],
        body: Body,
        trial: Trial,
        permit: &mut u64,
        at: Moment,
    ) {
        let may_ride = !trial.alike && trial.stage != Stage::Shortened;
        let may_wait = may_ride && (!self.flying.is_empty() || self.waiting() > 0);
        let mut child = self.child(parcel, picked, body, permit);
        child.attempt = 0;
        child.trial = Some(trial);
        child.rides = child.suspected.is_none();
        if may_wait && child.rides {
            self.wait_to_ride(child, at);
        } else {
            self.due.push_back(child);
        }
    }

    /// A dead-letter write ended. Documents without room are sent again after a delay, to be refused again when there is some;
    /// or they are dropped, if that was asked for.
    pub fn on_dead_lettered(&mut self, parcel: ParcelId, appended: Appended, at: Moment) {
        let Some(Writing::DeadLetter(parcel)) = self.writing.remove(&parcel) else {
            return;
        };
        self.dead_letter_full = match appended {
            Appended::Synced => false,
            Appended::NoRoom => true,
            Appended::Failed => return self.later(parcel, at),
        };
        if !self.dead_letter_full {
            self.rest_whole(parcel, Fate::DeadLettered, at.now);
        } else if self.config.when_letters_full == WhenLettersFull::Drop {
            self.rest_whole(parcel, Fate::DroppedAsRefused, at.now);
        } else {
            self.later(parcel, at);
        }
    }

    fn refuse_originals(
        &mut self,
        parcel: &Parcel,
        originals: &Apart<'_>,
        refused: &[(usize, &Problem)],
        alike: &[String],
        permit: &mut u64,
        at: Moment,
    ) {
        let before = parcel.trial.as_ref().map(|trial| trial.stage);
        let mut next: BTreeMap<(Stage, bool), Texts> = BTreeMap::new();
        let mut dead = Vec::new();
        for (row, problem) in refused {
            let (action, document) = originals.lines(*row);
            let (index, _) = dead_letter::target(action);
            let Some((stage, poorer)) = poorer(before, document, problem, Schema::of_index(&index)) else {
                dead.push((*row, *problem));
                continue;
            };
            let is_alike = alike.contains(&index);
            let poorer = [action, b"\n", &poorer, b"\n"].concat();
            next.entry((stage, is_alike)).or_default().push((*row, poorer));
        }
        for ((stage, alike), documents) in next {
            let picked: Vec<usize> = documents.iter().map(|(row, _)| *row).collect();
            let body = replace(originals.body(), &documents, self.config.compression);
            let kept = originals.pick(&picked);
            let trial = Trial {
                stage,
                originals: kept,
                alike,
            };
            self.send_poorer(parcel, &picked, body, trial, permit, at);
        }
        if !dead.is_empty() {
            self.bury(parcel, originals, &dead, permit, at);
        }
    }
}

/// The next form of a document, when there is one.
fn poorer(
    before: Option<Stage>,
    document: &[u8],
    problem: &Problem,
    schema: Schema,
) -> Option<(Stage, Vec<u8>)> {
    let shelved = || {
        let field = reduce::field_in_the_way(problem)?;
        Some((Stage::Shelved, reduce::without_field(document, field, schema)?))
    };
    let reduced = || Some((Stage::Reduced, reduce::reduced(document, problem, schema)?));
    match before {
        None => shelved().or_else(reduced),
        Some(Stage::Shelved) => reduced(),
        Some(Stage::Reduced | Stage::Shortened) => None,
    }
}

/// The indices of which nearly all documents were refused for the same reason: of a body that no server has judged before,
/// or of the poorer forms of such, none of which was taken.
fn alike(parcel: &Parcel, apart: &Apart<'_>, sorted: &Sorted<'_>) -> Vec<String> {
    let refused = &sorted.refused;
    let (counts, few) = match &parcel.trial {
        Some(trial) => (trial.alike, 1),
        None => (!parcel.judged, ALIKE_LEAST),
    };
    if !counts || refused.len() < few {
        return Vec::new();
    }
    let index_of = |row: usize| apart.index_of(row);
    let taken: HashSet<String> = match &parcel.trial {
        Some(_) => sorted.taken().map(index_of).collect(),
        None => HashSet::new(),
    };
    let mut all: HashMap<String, (usize, HashMap<&Problem, usize>)> = HashMap::new();
    for row in 0..apart.body().documents() {
        all.entry(index_of(row)).or_default().0 += 1;
    }
    for (row, problem) in refused {
        if let Some((_, problems)) = all.get_mut(&index_of(*row)) {
            *problems.entry(problem).or_default() += 1;
        }
    }
    let is_alike = |documents: usize, problems: &HashMap<&Problem, usize>| {
        let most = problems.values().max().copied().unwrap_or(0);
        documents >= few && most * 100 >= documents * ALIKE_PERCENT
    };
    all.into_iter()
        .filter(|(_, (documents, problems))| is_alike(*documents, problems))
        .map(|(index, _)| index)
        .filter(|index| !taken.contains(index))
        .collect()
}

//! Whether documents are there: asked of a search by their ids, over all indices behind a name.
//!
//! A search sees what was refreshed; the caller waits for that. (To get a document by its id at once takes the name of
//! the one index that holds it, which is what nobody knows here.)

use super::{Answer, Client, Session, Whole, transport};
use crate::config::HostUrl;
use crate::sink::elasticsearch::flight::{NO_LOOK_UP, NOT_FOUND};
use crate::sink::elasticsearch::hosts::HostId;
use crate::sink::elasticsearch::response::{Problem, RequestVerdict, Verdict};
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Ids in one search: far below `index.max_result_window` (10,000) and `indices.query.bool.max_clause_count`.
const IDS: usize = 1000;

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards", default)]
    shards: Shards,
    #[serde(default)]
    hits: Hits,
}

#[derive(Default, Deserialize)]
struct Shards {
    #[serde(default)]
    failed: u64,
}

#[derive(Default, Deserialize)]
struct Hits {
    #[serde(default)]
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_id")]
    id: String,
}

/// What came of one search.
enum Seen {
    Ids(HashSet<String>),
    /// We may not read there.
    Refused(Problem),
}

impl Client {
    /// Looks documents up (index and id of each, in the order of the verdicts). What is there is a
    /// [`Verdict::Duplicate`]; what is not is a [`Verdict::Retry`] of the type [`NOT_FOUND`]; without the right to read all are
    /// of the type [`NO_LOOK_UP`]. Never fails, as [`Client::post`].
    pub async fn look_up(&self, host: HostId, names: Vec<(String, String)>) -> Answer {
        let answer = |verdict, host| Answer {
            verdict,
            host,
            retry_after: None,
            places: None,
        };
        let Some(host) = self.config.hosts.get(host) else {
            let problem = transport("config", "no such host is configured".to_owned());
            return answer(RequestVerdict::Retry(problem), None);
        };
        let mut by_index: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (index, id) in &names {
            by_index.entry(index).or_default().push(id);
        }
        let mut there: HashSet<(&str, String)> = HashSet::new();
        let mut refused = None;
        for (index, ids) in by_index {
            for some in ids.chunks(IDS) {
                match self.search(host, index, some).await {
                    Ok(Seen::Ids(found)) => there.extend(found.into_iter().map(|id| (index, id))),
                    Ok(Seen::Refused(problem)) => refused = Some(problem),
                    Err(problem) => return answer(RequestVerdict::Retry(problem), None),
                }
            }
        }
        let absent = Arc::new(Problem {
            status: 404,
            kind: NOT_FOUND.to_owned(),
            reason: String::new(),
        });
        let again = refused.map_or(absent, |problem| {
            Arc::new(Problem {
                kind: NO_LOOK_UP.to_owned(),
                ..problem
            })
        });
        let verdicts = names.iter().map(|(index, id)| {
            if there.contains(&(index.as_str(), id.clone())) {
                Verdict::Duplicate
            } else {
                Verdict::Retry(Arc::clone(&again))
            }
        });
        answer(RequestVerdict::Items(verdicts.collect()), Some(host.clone()))
    }

    /// Which of these ids are behind the name of an index.
    async fn search(&self, host: &HostUrl, index: &str, ids: &[&str]) -> Result<Seen, Problem> {
        let query = json!({
            "size": ids.len(),
            "_source": false,
            "track_total_hits": false,
            "query": {"ids": {"values": ids}},
        });
        let body = query.to_string();
        let request = |session: &Session| {
            // A shard that nobody has is told only so: it counts as skipped, not as failed, on OpenSearch.
            let path = format!(
                "{host}/{index}/_search?allow_partial_search_results=false&filter_path=timed_out,_shards.failed,hits.hits._id"
            );
            let request = session.http.post(path).timeout(self.config.request_timeout);
            request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone())
        };
        let told = self.ask(host, request, |_| Whole(Vec::new())).await?;
        let problem = |reason: &str| Problem {
            status: told.status,
            kind: String::new(),
            reason: reason.to_owned(),
        };
        match told.status {
            200 => match serde_json::from_slice::<Found>(&told.intake.0) {
                Ok(found) if !found.timed_out && found.shards.failed == 0 => {
                    Ok(Seen::Ids(found.hits.hits.into_iter().map(|hit| hit.id).collect()))
                }
                Ok(_) => Err(problem("not all shards were searched")),
                Err(_) => Err(problem("the answer is not that of a search")),
            },
            // There is no such index, so nothing is in it.
            404 => Ok(Seen::Ids(HashSet::new())),
            401 | 403 => Ok(Seen::Refused(problem("the credentials may not read"))),
            _ => Err(problem("the documents could not be looked up")),
        }
    }
}

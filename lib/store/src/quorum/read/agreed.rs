//! Strongly consistent reads: the newest version that a majority of primaries has.

use apus_cluster::Timestamp;
use apus_cluster::policy::majority;
use apus_daemon::Body;
use apus_daemon::http::empty;
use apus_ring::Device;
use apus_wire::NodeRequest;
use apus_wire::message::object::{ObjectVersion, StoredObject};
use http::{Method, Response, StatusCode};
use http_body::Body as _;

use super::super::call::ObjectCall;
use super::super::nodes::QuorumRule;
use super::CopyAnswer;
use crate::{Error, Result};

/// Whether several copies have the same version.
#[derive(Debug, PartialEq, Eq)]
enum Agreement {
    /// All have the same version.
    Same,
    /// None has a record of the object.
    NoRecord,
    /// Their versions differ.
    Different,
}

/// Which of several answers of different versions counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Indices of the answers that have the newest version and can serve it, the chosen one first.
    servable: Vec<usize>,
    /// Indices of the primaries that have an older version.
    behind: Vec<usize>,
    /// Time of the newest version; `None` when no copy has a record of the object.
    pub(super) newest: Option<Timestamp>,
}

/// The answers of several copies, and which of them count.
pub(super) struct Comparison {
    answers: Vec<CopyAnswer>,
    pub(super) judgement: Judgement,
}

impl Comparison {
    /// A node with the newest version.
    pub(super) fn source(&self) -> Option<&Device> {
        let index = self.judgement.servable.first()?;
        self.answers.get(*index).map(|answer| &answer.node)
    }

    /// The nodes that have the newest version.
    pub(super) fn holders(&self) -> impl Iterator<Item = &Device> {
        let version = self.judgement.servable.first();
        let version =
            version.and_then(|index| self.answers.get(*index)).map(|chosen| chosen.version);
        let holders = self.answers.iter().filter(move |answer| Some(answer.version) == version);
        holders.map(|answer| &answer.node)
    }

    /// The primaries that have an older version.
    pub(super) fn behind(&self) -> Vec<Device> {
        let node = |index: &usize| self.answers.get(*index).map(|answer| answer.node.clone());
        self.judgement.behind.iter().filter_map(node).collect()
    }

    /// Notes that the primaries that were behind have the newest version now.
    pub(super) fn set_repaired(&mut self) {
        self.judgement.behind.clear();
    }
}

/// Compares the versions of answers.
fn agreement(answers: &[CopyAnswer]) -> Agreement {
    let Some(first) = answers.first() else { return Agreement::NoRecord };
    match answers.iter().all(|answer| answer.version == first.version) {
        true if first.version == ObjectVersion::default() => Agreement::NoRecord,
        true => Agreement::Same,
        false => Agreement::Different,
    }
}

/// Chooses the newest version; of a deletion and data of the same time, the deletion.
fn judge(answers: &[CopyAnswer], is_primary: impl Fn(&Device) -> bool) -> Judgement {
    let rank = |answer: &CopyAnswer| {
        let is_missing = answer.response.status() == StatusCode::NOT_FOUND;
        (answer.version, is_missing && answer.version.data.is_some())
    };
    let best = answers.iter().enumerate().max_by_key(|(_, answer)| rank(answer));
    let Some((best, chosen)) = best else { return Judgement::default() };
    let exists = chosen.response.status().is_success();
    let is_same = |answer: &CopyAnswer| {
        answer.version == chosen.version && answer.response.status().is_success() == exists
    };
    let others = answers.iter().enumerate().filter(|(index, _)| *index != best);
    let same = others.clone().filter(|(_, answer)| is_same(answer)).map(|(index, _)| index);
    let older =
        others.filter(|(_, answer)| answer.version < chosen.version && is_primary(&answer.node));
    Judgement {
        servable: std::iter::once(best).chain(same).collect(),
        behind: older.map(|(index, _)| index).collect(),
        newest: chosen.version.newest,
    }
}

/// Whether a successful response was to a `HEAD` of an object that is not empty.
fn lacks_body(response: &Response<Body>) -> bool {
    let is_empty = || {
        response.status() == StatusCode::OK && StoredObject::decode(response.headers()).length == 0
    };
    response.status().is_success() && response.body().is_end_stream() && !is_empty()
}

impl ObjectCall<'_> {
    /// The newest version that a majority of primaries has: data from one, `HEAD` from the others
    /// at the same time. When they differ, all primaries and the handoffs are asked. `newest` asks
    /// all primaries in any case; `strong` also needs a majority of those of the previous ring, and
    /// confirms a version that a minority has.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) async fn read_agreed(
        &self,
        request: &NodeRequest,
        newest: bool,
        strong: bool,
    ) -> Result<CopyAnswer> {
        let compare = || self.compare(request, newest, strong);
        let compared = match strong {
            true => self.confirmed(compare).await?,
            false => compare().await?,
        };
        if let (Some(time), Some(source)) = (compared.judgement.newest, compared.source()) {
            self.quorum.repair(self.address(), source, time, compared.behind());
        }
        let Comparison { answers, judgement } = compared;
        let mut answers: Vec<_> = answers.into_iter().map(Some).collect();
        let servable = judgement.servable.iter();
        let servable = servable.filter_map(|index| answers.get_mut(*index)?.take());
        self.first_readable(servable.collect(), request).await
    }

    /// The answers of enough copies, and which of them count.
    async fn compare(
        &self,
        request: &NodeRequest,
        newest: bool,
        strong: bool,
    ) -> Result<Comparison> {
        let mut answers = self.collect(request, newest, strong).await?;
        let agreement = agreement(&answers);
        if agreement == Agreement::Same {
            answers.sort_by_key(|answer| answer.response.status() == StatusCode::NOT_FOUND);
            let servable: Vec<usize> = (0..answers.len()).collect();
            // All have it: there is nothing to confirm or to repair.
            let judgement = Judgement { servable, ..Judgement::default() };
            return Ok(Comparison { answers, judgement });
        }
        // Servers without a record may have quarantined a damaged copy: the others may have one.
        self.ask_others(request, &mut answers, agreement).await;
        let is_primary = |node: &Device| self.nodes.primaries.iter().any(|own| own.id == node.id);
        let judgement = judge(&answers, is_primary);
        Ok(Comparison { answers, judgement })
    }

    /// Asks nodes in batches until enough have answered, the first one for data.
    async fn collect(
        &self,
        request: &NodeRequest,
        newest: bool,
        strong: bool,
    ) -> Result<Vec<CopyAnswer>> {
        let (nodes, replicas) = (&self.nodes, self.nodes.primaries.len());
        let rule = match strong {
            true => nodes.voter_rule(majority(replicas)),
            false => QuorumRule::Any(majority(replicas)),
        };
        let is_enough = |answers: &[CopyAnswer]| {
            rule.is_met(answers.iter().map(|answer| nodes.voter(&answer.node)))
        };
        let needed = if newest { replicas } else { majority(replicas) };
        let head = NodeRequest { method: Method::HEAD, ..request.clone() };
        let former = if strong { nodes.former.clone() } else { Vec::new() };
        let turn = self.quorum.clock.stamp().steps();
        let (free, avoided) = nodes.shuffled_primaries(self.client(), turn);
        let mut order = free.into_iter().chain(former);
        let mut avoided = Some(avoided);
        let mut answers: Vec<CopyAnswer> = Vec::new();
        while answers.len() < needed || !is_enough(&answers) {
            let missing = needed.saturating_sub(answers.len()).max(1);
            let mut batch: Vec<Device> = order.by_ref().take(missing).collect();
            if batch.is_empty() && !is_enough(&answers) {
                batch.extend(avoided.take().into_iter().flatten());
            }
            if batch.is_empty() {
                break;
            }
            let is_found = |answer: &CopyAnswer| answer.response.status() != StatusCode::NOT_FOUND;
            let has_data = answers.iter().any(is_found);
            let asked = batch.into_iter().enumerate().map(|(index, node)| {
                let wanted = if index == 0 && !has_data { request } else { &head };
                self.ask_chosen(node, wanted)
            });
            answers.extend(futures_util::future::join_all(asked).await.into_iter().flatten());
        }
        if !is_enough(&answers) {
            let count = answers.len();
            return Err(Error::unavailable(format!("only {count} copies answered")));
        }
        Ok(answers)
    }

    /// The answer of a node, also while it is being avoided; `None` when it failed.
    async fn ask_chosen(&self, node: Device, request: &NodeRequest) -> Option<CopyAnswer> {
        let client = self.client();
        let deadline = client.deadlines().answer;
        let response = client.send_anyway(&node, request, empty(), deadline).await.ok()?;
        let has_failed = response.status().is_server_error();
        (!has_failed).then(|| CopyAnswer::new(node, response))
    }

    /// Asks the nodes that did not answer yet: the other primaries, and those of the previous ring,
    /// or all handoffs where versions differ.
    async fn ask_others(
        &self,
        request: &NodeRequest,
        answers: &mut Vec<CopyAnswer>,
        agreement: Agreement,
    ) {
        let head = NodeRequest { method: Method::HEAD, ..request.clone() };
        let fallbacks = match agreement {
            Agreement::NoRecord => self.nodes.former.clone(),
            Agreement::Same | Agreement::Different => self.nodes.fallbacks(false),
        };
        let others = self.nodes.primaries.iter().chain(&fallbacks);
        let others = others.filter(|node| answers.iter().all(|answer| answer.node.id != node.id));
        let asked = others.cloned().map(|node| {
            let head = &head;
            async move {
                let response = self.client().send(&node, head, empty()).await.ok()?;
                let has_failed = response.status().is_server_error();
                (!has_failed).then(|| CopyAnswer::new(node, response))
            }
        });
        let asked: Vec<_> = asked.collect();
        answers.extend(futures_util::future::join_all(asked).await.into_iter().flatten());
    }

    /// The first of several answers of one version whose body can be read: damage to a copy may
    /// show only when it is opened.
    async fn first_readable(
        &self,
        answers: Vec<CopyAnswer>,
        request: &NodeRequest,
    ) -> Result<CopyAnswer> {
        let mut failed = Error::unavailable("no object server answered");
        for chosen in answers {
            match self.with_body(chosen, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Requests the body as well when the chosen answer was to a `HEAD`.
    async fn with_body(&self, answer: CopyAnswer, request: &NodeRequest) -> Result<CopyAnswer> {
        if request.method == Method::HEAD || !lacks_body(&answer.response) {
            return Ok(answer);
        }
        let response = self
            .client()
            .send(&answer.node, request, empty())
            .await
            .map_err(|error| Error::unavailable(error.to_string()))?;
        let read = CopyAnswer::new(answer.node, response);
        if read.version < answer.version {
            return Err(Error::unavailable("the newest copy disappeared while it was read"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &str = "primary";

    /// A copy with the times of its data and its newest change, in seconds.
    fn copy(status: u16, times: Option<(u64, u64)>, is_primary: bool) -> CopyAnswer {
        let version = times.map_or_else(ObjectVersion::default, |(data, newest)| ObjectVersion {
            data: Some(Timestamp::from_seconds(data)),
            newest: Some(Timestamp::from_seconds(newest)),
        });
        let mut response = http::Response::new(empty());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let name = if is_primary { PRIMARY } else { "handoff" };
        let node = Device::at("127.0.0.1:6200", name).unwrap();
        CopyAnswer { node, version, response }
    }

    #[test]
    fn agreement_is_about_versions_and_not_about_statuses() {
        let one = Some((1, 1));
        for (answers, expected) in [
            (vec![], Agreement::NoRecord),
            (vec![copy(404, None, true), copy(404, None, true)], Agreement::NoRecord),
            (vec![copy(200, one, true), copy(200, one, true)], Agreement::Same),
            (vec![copy(200, one, true), copy(404, one, true)], Agreement::Same),
            (vec![copy(200, one, true), copy(404, None, true)], Agreement::Different),
            (vec![copy(200, one, true), copy(200, Some((1, 2)), true)], Agreement::Different),
        ] {
            assert_eq!(agreement(&answers), expected);
        }
    }

    #[test]
    fn the_newest_version_serves_and_older_primaries_are_behind() {
        let judged = |answers: &[CopyAnswer]| {
            let Judgement { servable, behind, newest } =
                judge(answers, |node| node.device == PRIMARY);
            (servable, behind, newest.map(|time| time.seconds()))
        };
        let (one, two) = (Some((1, 1)), Some((2, 2)));
        for (answers, expected) in [
            (vec![], (vec![], vec![], None)),
            // No record anywhere: any answer will do.
            (vec![copy(404, None, true), copy(404, None, true)], (vec![1, 0], vec![], None)),
            // Data that two have and one missed.
            (
                vec![copy(200, two, true), copy(404, None, true), copy(200, two, true)],
                (vec![2, 0], vec![1], Some(2)),
            ),
            // A handoff is not repaired.
            (vec![copy(200, one, false), copy(200, two, true)], (vec![1], vec![], Some(2))),
            // A deletion is newer than the data, and wins over data of the same time.
            (vec![copy(200, one, true), copy(404, two, true)], (vec![1], vec![0], Some(2))),
            (vec![copy(404, one, true), copy(200, one, true)], (vec![0], vec![], Some(1))),
            // New metadata on old data is older than new data.
            (
                vec![copy(200, Some((1, 9)), true), copy(200, two, true)],
                (vec![1], vec![0], Some(2)),
            ),
            // A refused condition is not served together with data.
            (vec![copy(200, two, true), copy(412, two, true)], (vec![1], vec![], Some(2))),
        ] {
            assert_eq!(judged(&answers), expected);
        }
    }
}

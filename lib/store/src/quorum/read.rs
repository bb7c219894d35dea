//! Reading objects: one good copy, or in strong mode the newest that a majority knows.
//!
//! A body that breaks off goes on at the same byte on another node, if that has the same version.

use std::sync::Arc;

use apus_cluster::byte_range::{ByteRanges, Resolution, Resolved};
use apus_cluster::policy::majority;
use apus_cluster::{ObjectPath, PolicyIndex};
use apus_daemon::Body;
use apus_daemon::http::{BodyError, empty, header, set, stream};
use apus_daemon::task::{TaskKind, spawn};
use apus_ring::Device;
use apus_wire::{Client, NodeRequest, headers};
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::Quorum;
use super::head::{object_head, read_error, set_read};
use super::nodes::{Enough, Nodes};
use super::version::Version;
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{GetObject, HeadObject, ObjectHead, ObjectRead, Served};
use crate::{Error, Kind, Result, Subject};

/// Bodies up to this length arrive in one piece and need no watching.
const ONE_PIECE: u64 = 256 * 1024;

impl Quorum {
    pub(crate) fn object_nodes(&self, object: &ObjectPath, policy: PolicyIndex) -> Result<Nodes> {
        let ring = self.object_ring(policy)?;
        let names = [
            object.account().as_str(),
            object.container.container.as_str(),
            object.object.as_str(),
        ];
        Ok(Nodes::of(ring, &self.hash, &names))
    }

    pub(crate) fn object_request(
        &self,
        cx: &Context,
        method: Method,
        object: &ObjectPath,
        policy: PolicyIndex,
        nodes: &Nodes,
    ) -> NodeRequest {
        let mut request_headers = HeaderMap::new();
        set(&mut request_headers, headers::TRANS_ID, &cx.trans_id);
        set(&mut request_headers, headers::POLICY_INDEX, &policy.to_string());
        if cx.open_expired && matches!(method, Method::GET | Method::HEAD | Method::POST) {
            set(&mut request_headers, headers::OPEN_EXPIRED, "true");
        }
        if let Some(power) = nodes.other_power {
            set(&mut request_headers, headers::NEXT_PART_POWER, &power.to_string());
        }
        NodeRequest {
            method,
            partition: nodes.partition,
            names: vec![
                object.account().to_string(),
                object.container.container.to_string(),
                object.object.to_string(),
            ],
            query: String::new(),
            headers: request_headers,
        }
    }

    /// Reads an object's metadata.
    ///
    /// # Errors
    /// `NotFound`, `NotModified`, `PreconditionFailed`, `Unavailable`.
    pub async fn head_object(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &HeadObject,
        policy: PolicyIndex,
    ) -> Result<ObjectHead> {
        let nodes = self.object_nodes(&op.object, policy)?;
        let mut request = self.object_request(cx, Method::HEAD, &op.object, policy, &nodes);
        set_read(&mut request.headers, op);
        let (_, answer) = self.read_one(cx, op.newest, &nodes, &request).await?;
        Ok(object_head(answer.headers()))
    }

    /// Reads an object.
    ///
    /// # Errors
    /// As [`Quorum::head_object`], and `RangeNotSatisfiable`.
    pub async fn get_object(
        &self,
        cx: &Context,
        permit: Permit,
        op: &GetObject,
        policy: PolicyIndex,
    ) -> Result<ObjectRead> {
        let ignore_range_if = op.ignore_range_if.as_deref();
        let nodes = self.object_nodes(&op.head.object, policy)?;
        let mut request = self.object_request(cx, Method::GET, &op.head.object, policy, &nodes);
        set_read(&mut request.headers, &op.head);
        let several = op.ranges.as_ref().filter(|ranges| ranges.is_several());
        if let Some(ranges) = several {
            let head = self.head_object(cx, permit, &op.head, policy).await?;
            let mut marks = ignore_range_if.unwrap_or_default().split(',').map(str::trim);
            let ignored = marks.any(|mark| head.metadata.contains_key(mark));
            match ranges.resolve(head.length) {
                Resolution::Ranges(ranges) if !ignored => {
                    let body = self.read_several(cx, op, policy, &nodes, &head, ranges.clone());
                    return Ok(ObjectRead { head, served: Served::Ranges(ranges), body });
                }
                Resolution::Unsatisfiable if !ignored => {
                    let kind = Kind::RangeNotSatisfiable { size: head.length };
                    let mut error = Error::new(kind, Subject::Object);
                    error.head = Some(Box::new(head));
                    return Err(error);
                }
                _ => {}
            }
        }
        if let Some(ranges) = op.ranges.as_ref().filter(|ranges| !ranges.is_several()) {
            set(&mut request.headers, "range", &ranges.to_header());
        }
        if let Some(name) = ignore_range_if {
            set(&mut request.headers, headers::IGNORE_RANGE_IF, name);
        }
        let (node, answer) = self.read_one(cx, op.head.newest, &nodes, &request).await?;
        let head = object_head(answer.headers());
        let partial = answer.status() == StatusCode::PARTIAL_CONTENT;
        let range = match (partial, op.ranges.as_ref().map(|ranges| ranges.resolve(head.length))) {
            (true, Some(Resolution::Ranges(ranges))) => ranges.first().copied(),
            _ => None,
        };
        let whole = Resolved { start: 0, length: head.length };
        let served = match range {
            Some(range) => Served::Ranges(vec![range]),
            None => Served::Whole,
        };
        let range = range.unwrap_or(whole);
        let version = version(&answer);
        let body = answer.into_body();
        let body = if range.length <= ONE_PIECE {
            body
        } else {
            let mut others = nodes.primaries.clone();
            others.extend(nodes.fallbacks(false));
            others.retain(|other| other.id != node.id);
            request.headers.remove("if-none-match");
            request.headers.remove("if-modified-since");
            let resume = Resume {
                client: self.client.clone(),
                request,
                version,
                next: range.start,
                end: range.start + range.length,
                node,
                others,
            };
            resume.start(body)
        };
        Ok(ObjectRead { head, served, body })
    }

    /// Several ranges of one version, one request each, one after another.
    fn read_several(
        &self,
        cx: &Context,
        op: &GetObject,
        policy: PolicyIndex,
        nodes: &Nodes,
        head: &ObjectHead,
        ranges: Vec<Resolved>,
    ) -> Body {
        let (version, newest) = (head.etag.clone(), op.head.newest);
        let deadline = self.client.deadlines().chunk;
        let (quorum, cx, nodes) = (self.clone(), cx.clone(), nodes.clone());
        let object = op.head.object.clone();
        let (sender, receiver) = mpsc::channel(2);
        spawn(TaskKind::Request, async move {
            for range in ranges {
                let mut request = quorum.object_request(&cx, Method::GET, &object, policy, &nodes);
                let wanted = ByteRanges::single(range.start, range.length);
                set(&mut request.headers, "range", &wanted.to_header());
                let read = quorum.read_one(&cx, newest, &nodes, &request).await;
                let same = read.and_then(|(_, answer)| {
                    match object_head(answer.headers()).etag == version {
                        true => Ok(answer.into_body()),
                        false => Err(Error::unavailable("overwritten while its ranges were read")),
                    }
                });
                let mut body = match same {
                    Ok(body) => body,
                    Err(error) => {
                        // The client may have gone.
                        let _ = sender.send(Err(error.into())).await;
                        return;
                    }
                };
                loop {
                    let frame = match tokio::time::timeout(deadline, body.frame()).await {
                        Ok(Some(frame)) => frame,
                        Ok(None) => break,
                        Err(late) => Err(late.into()),
                    };
                    let piece = match frame.map(http_body::Frame::into_data) {
                        Ok(Ok(data)) => Ok(data),
                        Ok(Err(_)) => continue,
                        Err(error) => Err(error),
                    };
                    let failed = piece.is_err();
                    if sender.send(piece).await.is_err() || failed {
                        return;
                    }
                }
            }
        });
        stream(receiver)
    }

    /// The answer to a read, and the node that gave it.
    async fn read_one(
        &self,
        cx: &Context,
        newest: bool,
        nodes: &Nodes,
        request: &NodeRequest,
    ) -> Result<(Device, Response<Body>)> {
        let strong = cx.is_strong() && !apus_fault::planted("bug.read-one-copy");
        let chosen = if newest || (strong && nodes.primaries.len() > 1) {
            self.read_agreed(newest, strong, nodes, request).await?
        } else {
            self.read_any(nodes, request).await?
        };
        match chosen {
            (node, answer) if answer.status().is_success() => Ok((node, answer)),
            (_, answer) => Err(read_error(answer.status(), answer.headers())),
        }
    }

    /// The first good answer: primaries in turn, then handoffs.
    async fn read_any(
        &self,
        nodes: &Nodes,
        request: &NodeRequest,
    ) -> Result<(Device, Response<Body>)> {
        let turn = self.clock.stamp().steps();
        let (free, avoided) = nodes.shuffled_primaries(&self.client, turn);
        let mut missing: Option<(Device, Response<Body>)> = None;
        // Of primaries: a handoff has nothing in the ordinary run of things.
        let mut failures = avoided.len();
        let free = free.into_iter().map(|node| (node, 1));
        let handoffs = nodes.fallbacks(false).into_iter().map(|node| (node, 0));
        let first = free.len() + handoffs.len();
        let avoided = avoided.into_iter().map(|node| (node, 1));
        for (at, (node, counted)) in free.chain(handoffs).chain(avoided).enumerate() {
            let sent = if at < first {
                self.client.send(&node, request, empty()).await
            } else {
                if missing.is_some() && failures < majority(nodes.primaries.len()) {
                    break;
                }
                failures -= 1;
                self.client
                    .send_anyway(&node, request, empty(), self.client.deadlines().answer)
                    .await
            };
            match sent {
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => {
                    // A tombstone is better knowledge than never having heard of the object.
                    let better =
                        missing.as_ref().is_none_or(|(_, known)| version(known) < version(&answer));
                    if better {
                        missing = Some((node, answer));
                    }
                }
                Ok(answer) if answer.status().is_server_error() => failures += counted,
                Ok(answer) => {
                    let deleted_later = missing
                        .as_ref()
                        .is_some_and(|(_, known)| version(known) > version(&answer));
                    if !deleted_later {
                        return Ok((node, answer));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, node = node.address(), device = node.device, "read");
                    failures += counted;
                }
            }
        }
        // With most copies out of reach, "not found" would be a guess; a tombstone is none.
        let primaries = nodes.primaries.len();
        match missing {
            Some(missing)
                if failures < majority(primaries) || version(&missing.1).newest.is_some() =>
            {
                Ok(missing)
            }
            _ => Err(Error::unavailable(format!("{failures} object servers failed"))),
        }
    }

    /// The newest that a majority of primaries knows: data from one, `HEAD` from the others at
    /// the same time. When they differ all primaries and the handoffs are asked.
    async fn read_agreed(
        &self,
        newest: bool,
        strong: bool,
        nodes: &Nodes,
        request: &NodeRequest,
    ) -> Result<(Device, Response<Body>)> {
        let enough = match strong {
            true => nodes.enough(majority(nodes.primaries.len())),
            false => Enough::Any(majority(nodes.primaries.len())),
        };
        let is_enough = |answers: &[(Device, Response<Body>)]| {
            enough.is_met(&answers.iter().map(|(node, _)| nodes.voter(node)).collect::<Vec<_>>())
        };
        let needed = if newest { nodes.primaries.len() } else { majority(nodes.primaries.len()) };
        let head = NodeRequest { method: Method::HEAD, ..request.clone() };
        let turn = self.clock.stamp().steps();
        let former = if strong { nodes.former.clone() } else { Vec::new() };
        let (free, avoided) = nodes.shuffled_primaries(&self.client, turn);
        let mut order = free.into_iter().chain(former);
        let mut avoided = Some(avoided);
        let mut answers: Vec<(Device, Response<Body>)> = Vec::new();
        while answers.len() < needed || !is_enough(&answers) {
            let missing = needed.saturating_sub(answers.len()).max(1);
            let mut batch: Vec<Device> = order.by_ref().take(missing).collect();
            if batch.is_empty() && !is_enough(&answers) {
                batch.extend(avoided.take().into_iter().flatten());
            }
            if batch.is_empty() {
                break;
            }
            let data_is_here =
                answers.iter().any(|(_, answer)| answer.status() != StatusCode::NOT_FOUND);
            let asked = batch.into_iter().enumerate().map(|(index, node)| {
                let wanted = if index == 0 && !data_is_here { request } else { &head };
                let deadline = self.client.deadlines().answer;
                async move {
                    let sent = self.client.send_anyway(&node, wanted, empty(), deadline).await;
                    let answer = sent.ok()?;
                    (!answer.status().is_server_error()).then_some((node, answer))
                }
            });
            answers.extend(futures_util::future::join_all(asked).await.into_iter().flatten());
        }
        if !is_enough(&answers) {
            let count = answers.len();
            return Err(Error::unavailable(format!("{count} copies answered, which are too few")));
        }
        let first = answers.first().map(|(_, answer)| version(answer));
        let agreed = answers.iter().all(|(_, answer)| Some(version(answer)) == first);
        // Those that never heard of it may have moved a damaged copy aside: the others may know.
        let unheard = agreed && first == Some(Version::default());
        if agreed && !unheard {
            answers.sort_by_key(|(_, answer)| answer.status() == StatusCode::NOT_FOUND);
            return self.first_readable(answers, request).await;
        }
        let known: Vec<u32> = answers.iter().map(|(node, _)| node.id).collect();
        let handoffs = if unheard { nodes.former.clone() } else { nodes.fallbacks(false) };
        let others = nodes.primaries.iter().chain(&handoffs);
        let others = others.filter(|node| !known.contains(&node.id)).cloned();
        let asked = others.map(|node| {
            let head = &head;
            async move {
                let answer = self.client.send(&node, head, empty()).await.ok()?;
                (!answer.status().is_server_error()).then_some((node, answer))
            }
        });
        answers.extend(futures_util::future::join_all(asked).await.into_iter().flatten());
        // The newest wins; of a deletion and data of one time, the deletion.
        let newest = answers
            .iter()
            .enumerate()
            .max_by_key(|(_, (_, answer))| {
                (
                    version(answer),
                    answer.status() == StatusCode::NOT_FOUND && version(answer).data.is_some(),
                )
            })
            .map(|(at, _)| at)
            .ok_or_else(|| Error::unavailable("no answer"))?;
        let best = answers.swap_remove(newest);
        let newest = version(&best.1);
        if let Some(time) = newest.newest {
            let is_primary = |node: &Device| nodes.primaries.iter().any(|p| p.id == node.id);
            let behind = answers.iter().filter(|(_, answer)| version(answer) < newest);
            let behind: Vec<Device> =
                behind.map(|(node, _)| node.clone()).filter(is_primary).collect();
            self.repair(request, &best.0, time, &behind);
        }
        let is_there = best.1.status().is_success();
        let same = answers.into_iter().filter(|(_, answer)| {
            version(answer) == newest && answer.status().is_success() == is_there
        });
        self.first_readable(std::iter::once(best).chain(same).collect(), request).await
    }

    /// The first of several answers of one version whose body can be had: a copy may show only
    /// when it is read that it is damaged.
    async fn first_readable(
        &self,
        answers: Vec<(Device, Response<Body>)>,
        request: &NodeRequest,
    ) -> Result<(Device, Response<Body>)> {
        let mut failed = Error::unavailable("no answer");
        for chosen in answers {
            match self.with_body(chosen, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Gets the body as well when the chosen answer was to a `HEAD`.
    async fn with_body(
        &self,
        (node, answer): (Device, Response<Body>),
        request: &NodeRequest,
    ) -> Result<(Device, Response<Body>)> {
        use http_body::Body as _;
        let has_body = !answer.body().is_end_stream();
        let length = header(answer.headers(), "content-length").unwrap_or("0");
        if request.method == Method::HEAD
            || !answer.status().is_success()
            || has_body
            || (length == "0" && answer.status() == StatusCode::OK)
        {
            return Ok((node, answer));
        }
        let wanted = version(&answer);
        let got = self
            .client
            .send(&node, request, empty())
            .await
            .map_err(|error| Error::unavailable(error.to_string()))?;
        if version(&got) < wanted {
            return Err(Error::unavailable("the newest copy went away while it was read"));
        }
        Ok((node, got))
    }
}

fn version(answer: &Response<Body>) -> Version {
    Version::of(answer.headers())
}

/// A body that survives the node it comes from.
struct Resume {
    client: Arc<Client>,
    request: NodeRequest,
    version: Version,
    next: u64,
    end: u64,
    node: Device,
    others: Vec<Device>,
}

impl Resume {
    fn start(mut self, body: Body) -> Body {
        let (sender, receiver) = mpsc::channel(2);
        spawn(TaskKind::Request, async move {
            let mut body = body;
            while self.next < self.end {
                match self.piece(&mut body).await {
                    Ok(piece) => {
                        self.next += piece.len() as u64;
                        if sender.send(Ok(piece)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, node = self.node.address(), device = self.node.device, at = self.next, "body broke off");
                        self.client.note_error(&self.node);
                        match self.elsewhere().await {
                            Some(more) => body = more,
                            None => {
                                let _ = sender.send(Err(error)).await;
                                return;
                            }
                        }
                    }
                }
            }
        });
        stream(receiver)
    }

    async fn piece(&self, body: &mut Body) -> std::result::Result<Bytes, BodyError> {
        loop {
            let deadline = self.client.deadlines().chunk;
            match tokio::time::timeout(deadline, body.frame()).await {
                Err(_) => return Err("no data in time".into()),
                Ok(None) => return Err("ended too early".into()),
                Ok(Some(Err(error))) => return Err(error),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(data);
                    }
                }
            }
        }
    }

    /// The rest of the same version from another node.
    async fn elsewhere(&mut self) -> Option<Body> {
        while let Some(node) = (!self.others.is_empty()).then(|| self.others.remove(0)) {
            let mut request = self.request.clone();
            let rest = ByteRanges::single(self.next, self.end - self.next);
            set(&mut request.headers, "range", &rest.to_header());
            let Ok(answer) = self.client.send(&node, &request, empty()).await else { continue };
            if answer.status().is_success() && version(&answer) == self.version {
                self.node = node;
                return Some(answer.into_body());
            }
        }
        None
    }
}

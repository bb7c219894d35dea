//! The body of a `PUT`: plain, or Swift's MIME document with footers and commit.

use apus_cluster::Metadata;
use apus_daemon::http::status;
use apus_daemon::{Body, Interim};
use apus_disk::Priority;
use apus_wire::headers;
use apus_wire::message::object::{PutFraming, PutObjectRequest};
use apus_wire::put_stream::{PutDecoder, PutStreamError};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;

use super::context::Write;
use crate::engine::ObjectWriter;
use crate::server::{Refusal, refuse, store_failed};

/// Bytes gathered before the disk is asked to write.
const WRITE_BYTES: usize = 512 * 1024;
/// 499: the client disconnected.
const CLIENT_CLOSED: u16 = 499;

/// Where the bytes of a body come from.
pub(super) enum Source {
    Plain(Body),
    Footers(PutDecoder),
    TwoPhase(PutDecoder),
}

impl Source {
    /// Opens the body. With a MIME document the client is asked to send it.
    pub(super) async fn open(
        request: &PutObjectRequest,
        body: Body,
        interim: Option<&Interim>,
    ) -> Result<Self, Refusal> {
        let Some(boundary) = request.framing.boundary() else { return Ok(Self::Plain(body)) };
        let is_two_phase = matches!(request.framing, PutFraming::TwoPhase { .. });
        if let Some(interim) = interim {
            let commit = is_two_phase.then_some((headers::WILL_COMMIT, "yes"));
            let both: Vec<_> =
                [(headers::WILL_READ_FOOTERS, "yes")].into_iter().chain(commit).collect();
            interim.announce(&both);
        }
        let opened = PutDecoder::open(body, boundary, request.length).await;
        let decoder = opened.map_err(|error| stream_refusal(&error))?;
        Ok(if is_two_phase { Self::TwoPhase(decoder) } else { Self::Footers(decoder) })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, PutStreamError> {
        match self {
            Self::Footers(decoder) | Self::TwoPhase(decoder) => decoder.data().await,
            Self::Plain(body) => loop {
                match body.frame().await {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(PutStreamError::Broken(error)),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            },
        }
    }

    /// Reads the footers after the body; leaves a commit to be read.
    pub(super) async fn footers(&mut self) -> Result<Metadata, Refusal> {
        let footers = match self {
            Self::Plain(_) => Ok(Metadata::new()),
            Self::TwoPhase(decoder) => decoder.footers().await,
            Self::Footers(decoder) => match decoder.footers().await {
                Ok(footers) => decoder.finish().await.map(|()| footers),
                Err(error) => Err(error),
            },
        };
        footers.map_err(|error| stream_refusal(&error))
    }
}

/// The response to a body that cannot be read.
pub(super) fn stream_refusal(error: &PutStreamError) -> Refusal {
    match error {
        PutStreamError::Broken(_) => {
            let gone = StatusCode::from_u16(CLIENT_CLOSED).unwrap_or(StatusCode::BAD_REQUEST);
            Box::new(status(gone))
        }
        PutStreamError::FooterDigest => {
            refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string())
        }
        PutStreamError::Malformed(_) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// Digests of a body as it is received: CRC always (it guards the disk), MD5 on request.
pub(super) struct Digests {
    pub(super) crc: crc_fast::Digest,
    pub(super) md5: Option<md5::Context>,
    pub(super) length: u64,
}

impl Digests {
    fn new(with_md5: bool) -> Self {
        Self {
            crc: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme),
            md5: with_md5.then(md5::Context::new),
            length: 0,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.consume(bytes);
        }
        self.length += bytes.len() as u64;
    }
}

/// A received body. A short one is in memory; of a longer one all but the tail is written.
pub(super) struct ReceivedBody {
    pub(super) pieces: Vec<Bytes>,
    pub(super) writer: Option<Box<dyn ObjectWriter>>,
    pub(super) digests: Digests,
}

/// Reads the body, and compares its length with the declared one. MD5 is computed only when the
/// sender will not send a CRC of the body.
pub(super) async fn receive(
    write: &Write<PutObjectRequest>,
    source: &mut Source,
) -> Result<ReceivedBody, Refusal> {
    let mut digests = Digests::new(!write.request.sends_crc);
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut waiting = 0;
    let mut writer = None;
    while let Some(piece) = source.next().await.map_err(|error| stream_refusal(&error))? {
        digests.update(&piece);
        if digests.md5.is_some() {
            write.server.client.counters().digested(piece.len());
        }
        waiting += piece.len();
        pieces.push(piece);
        if waiting < WRITE_BYTES {
            continue;
        }
        let batch = std::mem::take(&mut pieces);
        waiting = 0;
        writer = Some(append(write, writer.take(), batch).await?);
        apus_fault::point("object.put.piece-written");
    }
    if write.request.length.is_some_and(|length| length != digests.length) {
        return Err(stream_refusal(&PutStreamError::Broken("short body".into())));
    }
    Ok(ReceivedBody { pieces, writer, digests })
}

/// Appends some pieces to the object, which is created first if there is no writer.
async fn append(
    write: &Write<PutObjectRequest>,
    writer: Option<Box<dyn ObjectWriter>>,
    batch: Vec<Bytes>,
) -> Result<Box<dyn ObjectWriter>, Refusal> {
    let Write { server, object, request, .. } = write;
    let committer = server.store.devices.committer(&object.device)?;
    let (place, length) = (object.place.clone(), request.length);
    let engine = server.store.engine(place.policy).clone();
    let work = move || {
        let mut writer = match writer {
            Some(writer) => writer,
            None => engine.create(place, length, &committer)?,
        };
        for piece in &batch {
            writer.append(piece)?;
        }
        Ok::<_, std::io::Error>(writer)
    };
    let written = server.store.devices.run(&object.device, Priority::Write, work).await?;
    written.map_err(|error| store_failed(error.into(), object))
}

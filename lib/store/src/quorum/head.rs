//! Conversion of object messages to operations and back.

use apus_wire::message::object::{AbsentObject, ReadConditions, StoredObject};
use http::{Response, StatusCode};

use crate::operation::{HeadObject, ObjectHead};
use crate::{Error, Kind, Subject};

/// The object that an answer describes.
pub(crate) fn object_head(object: StoredObject<'_>) -> ObjectHead {
    ObjectHead {
        timestamp: object.timestamp,
        length: object.length,
        length_unknown: false,
        etag: object.etag.into_owned(),
        content_type: object.content_type.into_owned(),
        metadata: object.metadata.into_owned(),
        parts_count: None,
        parts: Vec::new(),
        manifest_etag: None,
        location: None,
        version: None,
        delete_marker: false,
    }
}

/// The object that a response describes.
pub(crate) fn response_head<B>(response: &Response<B>) -> ObjectHead {
    object_head(StoredObject::decode(response.headers()))
}

/// The conditions of a read, as a message has them.
pub(crate) fn read_conditions(op: &HeadObject) -> ReadConditions {
    ReadConditions {
        if_match: op.conditions.if_match.clone(),
        if_none_match: op.conditions.if_none_match.clone(),
        if_modified_since: op.conditions.if_modified_since,
        if_unmodified_since: op.conditions.if_unmodified_since,
        etag_at: op.etag_at.clone(),
    }
}

/// The error for an unsuccessful response.
pub(crate) fn read_error<B>(response: &Response<B>) -> Error {
    let about = |kind, head| {
        let head = Some(Box::new(head));
        Error { head, ..Error::new(kind, Subject::Object) }
    };
    match response.status() {
        StatusCode::NOT_FOUND => match AbsentObject::decode(response.headers()).deleted {
            // Of a deleted object only the time is known.
            Some(timestamp) => {
                about(Kind::NotFound, ObjectHead { timestamp, ..ObjectHead::default() })
            }
            None => Error::new(Kind::NotFound, Subject::Object),
        },
        StatusCode::NOT_MODIFIED => about(Kind::NotModified, response_head(response)),
        StatusCode::PRECONDITION_FAILED => about(Kind::PreconditionFailed, response_head(response)),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let head = response_head(response);
            about(Kind::RangeNotSatisfiable { size: head.length }, head)
        }
        status => Error::unavailable(format!("the object server answered {status}")),
    }
}

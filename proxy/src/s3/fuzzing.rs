//! Fuzzing of S3 parsers.

use apus_cluster::byte_range::{ByteRanges, Resolution};
use apus_daemon::http::stream;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;

use super::chunked::{self, AnnouncedTrailer};
use super::operation::Operation;
use super::request::S3Request;
use super::sign::fuzz_signed_values;
use super::{acl, bucket, bucket_policy, form, list_versions, listing, object, upload};

/// `aws-chunked` bodies, in pieces of sizes that the input chooses.
pub fn aws_chunked(input: &[u8]) {
    let size = usize::from(input.first().copied().unwrap_or(1)).max(1);
    let crc32 = AnnouncedTrailer { name: Some("x-amz-checksum-crc32".to_owned()) };
    for announced in [None, Some(AnnouncedTrailer::default()), Some(crc32)] {
        for length in [0, 5, 11, u64::MAX] {
            let (sender, receiver) = tokio::sync::mpsc::channel(input.len() + 1);
            for piece in input.chunks(size) {
                // The channel has room for every piece.
                let _ = sender.try_send(Ok(Bytes::copy_from_slice(piece)));
            }
            drop(sender);
            let (body, _) = chunked::decode(stream(receiver), None, announced.clone(), length);
            if let Some(Ok(decoded)) = body.collect().now_or_never() {
                assert_eq!(decoded.to_bytes().len() as u64, length);
            }
        }
    }
}

/// Forms, in pieces of sizes that the input chooses, and policies of forms.
pub fn forms(input: &[u8]) {
    form::post::fuzz_policy(input);
    let size = usize::from(input.first().copied().unwrap_or(1)).max(1);
    let (sender, receiver) = tokio::sync::mpsc::channel(input.len() + 1);
    for piece in input.chunks(size) {
        // The channel has room for every piece.
        let _ = sender.try_send(Ok(Bytes::copy_from_slice(piece)));
    }
    drop(sender);
    form::post::fuzz_form(stream(receiver), input.len());
}

/// Documents of DeleteObjects, CompleteMultipartUpload, CreateBucket and ACLs.
pub fn s3_documents(input: &[u8]) {
    object::delete_many::read_document(input);
    upload::read_document(input);
    drop(bucket::check_configuration(input));
    acl::fuzz_document(input);
}

/// Policies of buckets.
pub fn bucket_policies(input: &[u8]) {
    bucket_policy::fuzz_document(input);
}

fn request(uri: &str, headers: &[(&str, &str)]) -> Option<S3Request> {
    let mut builder = http::Request::builder().uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (head, ()) = builder.body(()).ok()?.into_parts();
    S3Request::unverified(Operation::GetObject, head).ok()
}

pub(crate) fn s3_query(text: &str) {
    let Some(mut request) = request(&format!("/bucket/key?{text}"), &[]) else { return };
    for operation in [Operation::ListObjects, Operation::ListObjectsV2] {
        request.operation = operation;
        listing::fuzz_params(&request);
    }
    list_versions::fuzz_params(&request);
    upload::fuzz_params(&request);
    object::get::fuzz_params(&request);
}

pub(crate) fn s3_names(text: &str) {
    if let Some(request) = request(text, &[]) {
        drop((request.container(), request.object(), request.version()));
    }
    let headers = [("x-amz-copy-source", text)];
    if let Some(request) = request("/bucket/key", &headers) {
        drop(object::copy::source(&request));
    }
}

pub(crate) fn s3_headers(text: &str) {
    if let Some(ranges) = ByteRanges::parse(text) {
        for total in [0, 1, u64::MAX] {
            if let Resolution::Ranges(resolved) = ranges.resolve(total) {
                assert!(resolved.iter().all(|range| range.length <= total - range.start));
            }
        }
    }
    let names = ["if-match", "if-none-match", "if-modified-since", "range", "x-amz-if-match-size"];
    let dates = ["x-amz-if-match-last-modified-time", "x-amz-copy-source-range", "x-amz-trailer"];
    let headers: Vec<_> = names.into_iter().chain(dates).map(|name| (name, text)).collect();
    if let Some(request) = request("/bucket/key", &headers) {
        drop(object::condition::on_read(&request, ""));
        drop(object::condition::on_write(&request));
        upload::fuzz_params(&request);
    }
    if let Some(request) = request("/bucket/key", &[("x-amz-checksum-crc32", text)]) {
        drop(super::checksum::DeclaredChecksums::parse(&request.head.headers));
        drop(super::checksum::UploadChecksum::of(&request.head.headers));
    }
    acl::fuzz_headers(text);
    fuzz_signed_values(text);
}

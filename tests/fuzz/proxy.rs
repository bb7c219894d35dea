//! The parsers of the proxy server, with good inputs.

use apus_proxy::fuzzing;

use crate::targets::Target;

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    ("aws-chunked", chunked_bodies, fuzzing::aws_chunked),
    ("form", forms, fuzzing::forms),
    ("S3 document", documents, fuzzing::s3_documents),
    ("bucket policy", bucket_policies, fuzzing::bucket_policies),
    ("segment list", segment_lists, fuzzing::segment_list),
    ("query", queries, fuzzing::query),
    ("request path", paths, fuzzing::names),
    ("request header", headers, fuzzing::headers),
];

fn inputs(inputs: &[&str]) -> Vec<Vec<u8>> {
    inputs.iter().map(|input| input.as_bytes().to_vec()).collect()
}

fn chunked_bodies() -> Vec<Vec<u8>> {
    inputs(&[
        "5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "5;chunk-signature=00\r\nhello\r\n0;chunk-signature=00\r\n\r\n",
        "0\r\n\r\n",
    ])
}

fn forms() -> Vec<Vec<u8>> {
    inputs(&[
        "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na/${filename}\r\n--x\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"C:\\a\"\r\n\
         Content-Type: text/plain\r\n\r\ndata\r\n--x--\r\n",
        r#"{"expiration":"2026-11-30T12:00:00Z","conditions":[{"bucket":"b"},
           ["starts-with","$key","a"],["content-length-range",0,"10"]]}"#,
    ])
}

fn bucket_policies() -> Vec<Vec<u8>> {
    inputs(&[
        r#"{"Version":"2012-10-17","Id":"x","Statement":[{"Sid":"a","Effect":"Allow","Principal":{"AWS":
           ["arn:aws:iam::test:user/u","test"]},"Action":["s3:GetObject","s3:List*"],"Resource":
           ["arn:aws:s3:::bucket/${aws:username}/*","arn:aws:s3:::bucket"],"Condition":{"IpAddress":
           {"aws:SourceIp":["10.0.0.0/8","2001:db8::/32"]},"DateLessThan":{"aws:CurrentTime":
           "2030-01-01T00:00:00Z"},"ForAnyValue:StringLikeIfExists":{"s3:prefix":"a${*}*"}}}]}"#,
        r#"{"Statement":{"Effect":"Deny","NotPrincipal":{"CanonicalUser":"x"},"NotAction":"s3:*Acl","NotResource":
           "arn:aws:s3:::bucket/a?b","Condition":{"Bool":{"aws:SecureTransport":false},"NumericGreaterThan":
           {"s3:max-keys":10},"ArnLike":{"aws:SourceArn":"arn:aws:sns:*"},"Null":{"s3:x-amz-acl":"true"}}}}"#,
    ])
}

fn documents() -> Vec<Vec<u8>> {
    inputs(&[
        "<AccessControlPolicy><Owner><ID>a:b</ID></Owner><AccessControlList><Grant>\
         <Grantee xmlns:x=\"y\" x:type=\"CanonicalUser\"><ID>c:d</ID></Grantee>\
         <Permission>READ_ACP</Permission></Grant></AccessControlList></AccessControlPolicy>",
        "<Delete xmlns='x'><Object><Key>a &amp; &#x42;</Key><ETag>e</ETag></Object>\
         <Quiet>true</Quiet></Delete>",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"e\"</ETag>\
         <ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>",
        "<?xml version='1.0'?><CreateBucketConfiguration><LocationConstraint>eu\
         </LocationConstraint></CreateBucketConfiguration>",
    ])
}

fn segment_lists() -> Vec<Vec<u8>> {
    inputs(&[
        r#"[{"path":"/c/o","etag":"e","size_bytes":5,"range":"0-3"},{"data":"YQ=="}]"#,
        r#"[{"path":"c/o","size_bytes":" 1_000 "},{"path":"/c/p","size_bytes":3.9,"x":[{}]}]"#,
    ])
}

fn queries() -> Vec<Vec<u8>> {
    inputs(&[
        "prefix=a%2F&delimiter=/&limit=5&marker=b&end_marker=c&reverse=on&format=json",
        "list-type=2&max-keys=3&encoding-type=url&continuation-token=aw&fetch-owner=true",
        "uploads&key-marker=a&upload-id-marker=b&max-uploads=2&part-number-marker=1&max-parts=3",
        "partNumber=2&response-expires=x&versionId=null",
        "multipart-manifest=get&part-number=2&symlink=get",
    ])
}

fn paths() -> Vec<Vec<u8>> {
    inputs(&["/v1/AUTH_a/c/o/with%20a%2Fslash", "/bucket/key%2B/x", "/bucket/key?versionId=null"])
}

fn headers() -> Vec<Vec<u8>> {
    inputs(&[
        "bytes=0-9,20-29,-5",
        "=?UTF-8?Q?gr=C3=BCn?= =?ISO-8859-1?B?/A==?= text",
        "2026-11-21T06:34:06.809Z",
        "Tue, 14 Nov 2023 22:13:20 GMT",
        "application/json;q=0.5, text/xml;q=0.6, */*",
        ".r:*,.r:-.example.com,.rlistings,test:tester",
        r#"{"admin":["a"],"read-only":["b"],"read-write":[]}"#,
        "c/o%20p",
        "20261130T235959Z",
        "AKID/20261130/us-east-1/s3/aws4_request",
        "id=\"test:tester\", uri=\"http://acs.amazonaws.com/groups/global/AllUsers\"",
        "emailAddress=a@example.com",
        "bucket-owner-full-control",
    ])
}

//! The parsers of storage servers, with good inputs: exchanges with peers, and files on devices.

use apus_object::fuzzing;
use apus_wire::signed::fuzzing as signed;

use crate::targets::{Target, pickles};

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    ("SSYNC stream", ssync_streams, fuzzing::ssync),
    ("suffix hashes", pickles, fuzzing::suffix_hashes),
    ("stored metadata", pickles, fuzzing::stored_metadata),
    ("signature", signatures, signed::signature_header),
    ("signed frames", bodies, signed::frames),
];

fn inputs(inputs: &[&str]) -> Vec<Vec<u8>> {
    inputs.iter().map(|input| input.as_bytes().to_vec()).collect()
}

fn ssync_streams() -> Vec<Vec<u8>> {
    inputs(&[
        ":MISSING_CHECK: START\r\n\
         9d00c9d091fea9ea855f29c22714dc83 1700000000.12345 m:1f,t:-2__1\r\n\
         9d00c9d091fea9ea855f29c22714dc83 1700000000.12345_0000000000000001 durable:False\r\n\
         :MISSING_CHECK: END\r\n",
        ":MISSING_CHECK: START\r\n9d00c9d091fea9ea855f29c22714dc83 dm\r\n:MISSING_CHECK: END\r\n",
        ":UPDATES: START\r\nPUT /a/c/o\r\nContent-Length: 5\r\nX-Timestamp: 1700000000.12345\r\n\r\n\
         12345DELETE /a/c/o\r\nX-Timestamp: 1700000001.00000\r\n\r\n:UPDATES: END\r\n",
    ])
}

fn signatures() -> Vec<Vec<u8>> {
    let (nonce, mac) = ("5a".repeat(16), "a5".repeat(32));
    let claim = format!("v1 key=0123abcd date=1700000000000 nonce={nonce}");
    inputs(&[
        &format!("{claim} body=none mac={mac}"),
        &format!("{claim} body=frames length=12345 mac={mac}"),
        &format!("{claim} body=plain mac={mac}"),
    ])
}

fn bodies() -> Vec<Vec<u8>> {
    vec![Vec::new(), b"short".to_vec(), vec![7; 70_000], (0..=255).cycle().take(140_000).collect()]
}

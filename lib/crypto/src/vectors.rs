//! Texts that Swift 2.38.1's own functions wrote, with fixed random numbers: the n-th call returns n.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::*;

const BODY: &[u8] = b"The quick brown fox jumps over the lazy dog";
const CIPHERTEXT: &str =
    "5491a2643ac5a5e3075c5b9c4d669f661a2048abf6be49af029ffc95fc2c275fcd02f9cb895051a21a55d6";
const BODY_META: &str = "%7B%22body_key%22%3A+%7B%22iv%22%3A+%22AwMDAwMDAwMDAwMDAwMDAw%3D%3D%22%2C+%22key%22%3A+%2233O6rka0mQyMRR%2Bz4jOqysypJ0P2LECQWFvSmh40cxg%3D%22%7D%2C+%22cipher%22%3A+%22AES_CTR_256%22%2C+%22iv%22%3A+%22AQEBAQEBAQEBAQEBAQEBAQ%3D%3D%22%2C+%22key_id%22%3A+%7B%22path%22%3A+%22%2FAUTH_a%2Fc%2Fgr";
const ETAG: &str = "9e107d9d372bb6826bd81d3542a419d6";
const ENCRYPTED_ETAG: &str = "GkqgVpRsXesoyjW6NBmEqNUMu8uII6fzRmS2teBKI04=; swift_meta=%7B%22cipher%22%3A+%22AES_CTR_256%22%2C+%22iv%22%3A+%22BAQEBAQEBAQEBAQEBAQEBA%3D%3D%22%7D";
const MAC: &str = "53/X2gTu6uZi8bVWf+SfEnep7EPBdDQ6NpF6QH4rbOY=";
const ROW_ETAG: &str = "5prslo27LmGmKvZT+xSCfBcQE53P2ogx5RlQpdX4mBY=; swift_meta=%7B%22cipher%22%3A+%22AES_CTR_256%22%2C+%22iv%22%3A+%22BQUFBQUFBQUFBQUFBQUFBQ%3D%3D%22%2C+%22key_id%22%3A+%7B%22path%22%3A+%22%2FAUTH_a%2Fc%2Fgr";
const USER_META: &str = "XajlgwY=; swift_meta=%7B%22cipher%22%3A+%22AES_CTR_256%22%2C+%22iv%22%3A+%22BgYGBgYGBgYGBgYGBgYGBg%3D%3D%22%7D";
/// How each version ends the key id of `/AUTH_a/c/grün/x`.
const ENDS: [(MetaVersion, &str); 2] = [
    (
        MetaVersion::V2,
        "%5Cu00c3%5Cu00bcn%2Fx%22%2C+%22secret_id%22%3A+%22new%22%2C+%22v%22%3A+%222%22%7D%7D",
    ),
    (
        MetaVersion::V3,
        "%5Cu00fcn%2Fx%22%2C+%22secret_id%22%3A+%22new%22%2C+%22v%22%3A+%223%22%7D%7D",
    ),
];
const PATH: KeyPath<'static> =
    KeyPath { account: "AUTH_a", container: "c", object: Some("grün/x") };

fn secrets(version: MetaVersion) -> RootSecrets {
    let first: Vec<u8> = (0..32).collect();
    let (first, new) = (STANDARD.encode(first), STANDARD.encode([b'n'; 40]));
    let options =
        [("encryption_root_secret", first.as_str()), ("encryption_root_secret_new", &new)];
    RootSecrets::from_options(options.into_iter(), Some("new"), version).unwrap().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_swift_wrote_is_written() {
    for (version, end) in ENDS {
        let keys = secrets(version).active_keys(&PATH).unwrap();
        let body_key = SecretKey::new([2; 32]);
        let wrapped = wrap_key(&keys.object, &[3; 16], &body_key);
        let meta = CryptoMeta {
            iv: Some([1; 16]),
            key_id: Some(keys.id.clone()),
            body_key: Some(BodyKey { iv: [3; 16], wrapped }),
        };
        assert_eq!(meta.dump(), format!("{BODY_META}{end}"));
        let mut body = BODY.to_vec();
        Keystream::new(&body_key, &[1; 16], 0).apply(&mut body);
        assert_eq!(hex(&body), CIPHERTEXT);
        assert_eq!(encrypt_value(ETAG, &keys.object, [4; 16], None), ENCRYPTED_ETAG);
        assert_eq!(etag_mac(&keys.object, ETAG), MAC);
        let row = encrypt_value(ETAG, &keys.container, [5; 16], Some(&keys.id));
        assert_eq!(row, format!("{ROW_ETAG}{end}"));
        assert_eq!(encrypt_value("grün", &keys.object, [6; 16], None), USER_META);
    }
}

#[test]
fn what_swift_wrote_is_read() {
    // The version of the reader's own writes does not matter.
    let reader = secrets(MetaVersion::V1);
    for (version, end) in ENDS {
        let stored = format!("{BODY_META}{end}");
        let meta = CryptoMeta::load(&stored).unwrap();
        let Some(KeyId::Path { version: found, path, secret }) = meta.key_id else { panic!() };
        assert_eq!((found, secret.as_deref()), (version, Some("new")));
        let keys = reader.keys_of(found, &path, &secret, &PATH).unwrap();
        let BodyKey { iv, wrapped } = meta.body_key.unwrap();
        let body_key = unwrap_key(&keys.object, &iv, wrapped);
        let bytes: Vec<u8> = (0..CIPHERTEXT.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&CIPHERTEXT[at..at + 2], 16).unwrap())
            .collect();
        for from in [0, 17, 32] {
            let mut part = bytes[from..].to_vec();
            Keystream::new(&body_key, &meta.iv.unwrap(), from as u64).apply(&mut part);
            assert_eq!(part, BODY[from..]);
        }
        let read =
            |text: &str, key| decrypt_value(&split_value(text).unwrap().unwrap(), key).unwrap();
        assert_eq!(read(ENCRYPTED_ETAG, &keys.object), ETAG);
        assert_eq!(read(USER_META, &keys.object), "grün");
        // A listing knows the container only.
        let row = format!("{ROW_ETAG}{end}");
        let row = split_value(&row).unwrap().unwrap();
        let Some(KeyId::Path { version, path, secret }) = &row.meta.key_id else { panic!() };
        let listed = KeyPath { object: None, ..PATH };
        let keys = reader.keys_of(*version, path, secret, &listed).unwrap();
        assert_eq!(decrypt_value(&row, &keys.container).unwrap(), ETAG);
    }
    assert_eq!(split_value("abc; slo_etag=x").unwrap(), None);
    assert!(split_value("abc; swift_meta=%7B").is_err());
}

#[test]
fn each_root_secret_has_its_own_key() {
    let set = secrets(MetaVersion::V2);
    let first = set.keys_of(MetaVersion::V2, "/AUTH_a/c/grÃ¼n/x", &None, &PATH).unwrap();
    assert_eq!(
        hex(first.object.bytes()),
        "01cb1b31458fecb9c872a50443c14de4a0f08e28fd93bb1149f722d1b7e85883"
    );
    let both = set.object_keys(&PATH);
    assert!(both.len() == 2 && both.contains(&first.object));
}

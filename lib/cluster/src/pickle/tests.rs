use super::*;

mod hostile;

#[test]
fn both_written_forms_are_read_back() {
    let value = Value::Dict(vec![
        (Value::Bytes(b"name".to_vec()), Value::Bytes("/a/c/\u{fc}".as_bytes().to_vec())),
        (Value::Bytes(b"n".to_vec()), Value::Int(-70_000)),
        (Value::Bytes(b"big".to_vec()), Value::Int(1 << 40)),
        (
            Value::Bytes(b"list".to_vec()),
            Value::List(vec![Value::None, Value::Bool(true), Value::Float(1.5)]),
        ),
        (Value::Bytes(b"tuple".to_vec()), Value::Tuple(vec![Value::Int(1); 5])),
    ]);
    assert_eq!(loads(&dumps(&value)).unwrap(), value);
    assert_eq!(loads(&dumps_compact(&value)).unwrap(), value);
    assert!(dumps_compact(&value).len() < dumps(&value).len());
}

#[test]
fn pythons_own_bytes_are_read() {
    // pickle.dumps({b'a': b'\xff'}, 2) of CPython 3.11
    let python = b"\x80\x02}q\x00c_codecs\nencode\nq\x01X\x01\x00\x00\x00aq\x02X\x06\x00\x00\x00latin1q\x03\x86q\x04Rq\x05h\x01X\x02\x00\x00\x00\xc3\xbfq\x06h\x03\x86q\x07Rq\x08s.";
    let value = loads(python).unwrap();
    assert_eq!(value.get("a"), Some(&Value::Bytes(vec![0xff])));
}

#[test]
fn a_global_that_could_run_code_is_refused() {
    let error = loads(b"cos\nsystem\n(S'true'\ntR.").unwrap_err();
    assert!(error.reason.contains("os.system"), "{error}");
}

#[test]
fn a_small_file_cannot_unfold_into_a_large_value() {
    let mut bomb = b"\x80\x02]q\x00".to_vec();
    for level in 0..40u8 {
        bomb.extend([b']', b'q', level + 1, b'(', b'h', level, b'h', level, b'h', level, b'e']);
    }
    bomb.push(b'.');
    assert!(loads(&bomb).is_err());
}

#[test]
fn no_prefix_of_a_pickle_panics() {
    let whole = dumps(&Value::List(vec![Value::Str("x".repeat(300)), Value::Int(5)]));
    for end in 0..whole.len() {
        assert!(loads(&whole[..end]).is_err());
    }
}

#[test]
fn arrays_keep_their_type_and_are_not_used_twice() {
    let arrays = |codes: &[u8]| {
        let array = |code: &u8| Value::Array(*code, vec![0, 255, 65_535, 70_000, u32::MAX]);
        Value::List(codes.iter().map(array).collect())
    };
    assert_eq!(loads(&dumps(&arrays(b"BHIL"))).unwrap(), arrays(b"BHIL"));
    assert!(loads(&dumps(&arrays(b"d"))).unwrap_err().reason.contains("'d'"));
    let negative = b"\x80\x02carray\narray\nX\x01\x00\x00\x00H]J\xff\xff\xff\xffa\x86R.";
    assert!(loads(negative).unwrap_err().reason.contains("other than integers of four bytes"));
    let twice = b"\x80\x02](carray\narray\nX\x01\x00\x00\x00H]K\x01a\x86Rq\x00h\x00e.";
    assert!(loads(twice).unwrap_err().reason.contains("more than once"));
    let python2 =
        b"\x80\x02carray\narray\nX\x01\x00\x00\x00IU\x08\x01\x00\x00\x00\x00\x00\x01\x00\x86R.";
    assert_eq!(loads(python2).unwrap(), Value::Array(b'I', vec![1, 65_536]));
}

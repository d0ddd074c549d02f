use super::*;

/// Fields of a block as lines: `name: value`, `?` for what is not known or not kept.
fn read(decoder: &mut Decoder, block: &[u8]) -> Result<String, Malformed> {
    let mut lines = Vec::new();
    decoder.decode(block, &mut |f| {
        let name = match f.name {
            Name::Kept(name) => name.to_owned(),
            other => format!("{other:?}"),
        };
        lines.push(format!("{name}: {}", f.value.unwrap_or("?")));
    })?;
    Ok(lines.join("\n"))
}

#[track_caller]
fn check(decoder: &mut Decoder, block: &[u8], want: &[&str]) {
    assert_eq!(read(decoder, block).unwrap(), want.join("\n"));
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16).map(|d| d as u8))
        .collect();
    digits.chunks(2).map(|p| p[0] << 4 | p[1]).collect()
}

/// A literal that is added to the table, with a literal name.
fn added(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0x40, name.len() as u8];
    block.extend(name.bytes());
    block.push(value.len() as u8);
    block.extend(value.bytes());
    block
}

/// RFC 7541, appendix C.3 and C.4: three requests on one connection, plain and Huffman coded.
#[test]
fn requests_of_the_standard() {
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        let mut decoder = Decoder::new();
        let host = "Host: www.example.com";
        let [a, b, c] = blocks.map(hex);
        let start = ["Method: GET", "Other: ?", "Path: /", host];
        check(&mut decoder, &a, &start);
        assert_eq!(decoder.size(), 57);
        check(&mut decoder, &b, &[&start[..], &["Other: ?"]].concat());
        assert_eq!(decoder.size(), 110);
        let path = "Path: /index.html";
        let want = ["Method: GET", "Other: ?", path, host, "Other: ?"];
        check(&mut decoder, &c, &want);
        assert_eq!(decoder.size(), 164);
    }
}

/// RFC 7541, appendix C.5: the table throws out what does not fit.
#[test]
fn responses_of_the_standard() {
    let mut decoder = Decoder::new();
    decoder.resize(256);
    for (block, status, size) in [
        (
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
             2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 \
             6c65 2e63 6f6d",
            "302",
            222,
        ),
        ("4803 3330 37c1 c0bf", "307", 222),
        (
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d \
             54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 \
             5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e \
             3d31",
            "200",
            215,
        ),
    ] {
        let told = read(&mut decoder, &hex(block)).unwrap();
        assert!(told.starts_with(&format!("Status: {status}")), "{told}");
        assert_eq!(told.contains("content-encoding: gzip"), status == "200");
        assert_eq!(decoder.size(), size);
    }
}

#[test]
fn secrets_are_not_even_in_the_table() {
    let mut decoder = Decoder::new();
    for name in ["authorization", "x-api-key", "cookie", "api-key"] {
        check(&mut decoder, &added(name, "sk-secret"), &["Other: ?"]);
    }
    check(
        &mut decoder,
        &added(":path", "/v1/x?key=sk-secret&a=1"),
        &["Path: /v1/x?key=&a=1"],
    );
    check(
        &mut decoder,
        &added(":authority", "me:sk-secret@h:1"),
        &["Host: h:1"],
    );
    for entry in &decoder.entries {
        assert!(!format!("{:?}", entry.field()).contains("secret"));
    }
    // They count for what they are.
    assert_eq!(
        decoder.size(),
        6 * 32 + 13 + 9 + 6 + 7 + 4 * 9 + 5 + 23 + 10 + 16
    );
}

/// After a loss static and literal fields are right, and so are entries added since; others are
/// unknown.
#[test]
fn a_table_whose_start_was_missed() {
    let mut decoder = Decoder::new();
    check(
        &mut decoder,
        &added("server", "before"),
        &["server: before"],
    );
    decoder.lose();
    // The newest, index 62, was there before the loss: it may be another one now.
    check(
        &mut decoder,
        &[0x82, 0xbe, 0xc5],
        &["Method: GET", "Unknown: ?", "Unknown: ?"],
    );
    check(&mut decoder, &added("server", "a"), &["server: a"]);
    check(&mut decoder, &added("request-id", "b"), &["request-id: b"]);
    check(
        &mut decoder,
        &[0xbe, 0xbf, 0xc0],
        &["request-id: b", "server: a", "Unknown: ?"],
    );
    // A literal whose name is unknown: its value is of nobody knows what. It moves the others.
    check(
        &mut decoder,
        &[&[0x7f, 0x10, 3][..], b"xyz"].concat(),
        &["Unknown: ?"],
    );
    check(
        &mut decoder,
        &[0xbe, 0xbf, 0xc0],
        &["Unknown: ?", "request-id: b", "server: a"],
    );
    // An emptied table has nothing unknown any more.
    check(&mut decoder, &[0x20, 0x3f, 0xe1, 0x1f], &[]);
    assert_eq!(read(&mut decoder, &[0xbe]), Err(Malformed));
}

#[test]
fn the_size_of_the_table() {
    let mut decoder = Decoder::new();
    let size = |n: usize| -> Vec<u8> {
        assert!(n >= 31);
        let (mut block, mut n) = (vec![0x3f], n - 31);
        while n >= 128 {
            block.push(n as u8 & 0x7f | 0x80);
            n >>= 7;
        }
        block.push(n as u8);
        block
    };
    for i in 0..100 {
        read(&mut decoder, &added("server", &format!("{i:04}"))).unwrap();
    }
    // 42 octets each, of 4096.
    assert_eq!((decoder.entries.len(), decoder.size()), (97, 97 * 42));
    check(&mut decoder, &size(100), &[]);
    assert_eq!(decoder.entries.len(), 2);
    check(
        &mut decoder,
        &[0xbe, 0xbf],
        &["server: 0099", "server: 0098"],
    );
    assert_eq!(read(&mut decoder, &[0xc0]), Err(Malformed));
    // Beyond the bound older ones are unknown, not malformed.
    let mut decoder = Decoder::new();
    check(&mut decoder, &size(1 << 20), &[]);
    for i in 0..3000 {
        read(&mut decoder, &added("server", &format!("{i:04}"))).unwrap();
        assert!(decoder.size() <= MAX_TABLE_BYTES);
    }
    check(
        &mut decoder,
        &[0xbe, 0xff, 0xff, 0x10],
        &["server: 2999", "Unknown: ?"],
    );
    // One that is larger than the table empties it.
    check(&mut decoder, &size(40), &[]);
    check(
        &mut decoder,
        &added("server", "too long"),
        &["server: too long"],
    );
    assert_eq!(decoder.size(), 0);
}

#[test]
fn broken_blocks() {
    for bad in [
        &[0x80][..],
        // Beyond the tables.
        &[0xbe],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
        // Integers without an end, and too long.
        &[0xff],
        &[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
        // Strings that are not there.
        &[0x40],
        &[0x40, 0x05, b'a'],
        &[0x40, 0x01, b'a', 0x7f],
        &[0x00, 0x01, b'a', 0xff, 0xff, 0xff, 0xff, 0x7f],
        // A literal with a name of no index.
        &[0x7f, 0x00, 0x00],
        // Huffman code with bad padding.
        &[0x40, 0x81, 0x18, 0x00],
    ] {
        let mut decoder = Decoder::new();
        check(&mut decoder, &added("server", "a"), &["server: a"]);
        if bad == [0xbe] {
            decoder = Decoder::new();
        }
        assert_eq!(read(&mut decoder, bad), Err(Malformed), "{bad:x?}");
        // What was known is so no more.
        check(&mut decoder, &[0xbe], &["Unknown: ?"]);
    }
}

/// Values of any length, and those that are too long for the list.
#[test]
fn long_values() {
    let mut decoder = Decoder::new();
    for (len, kept) in [(4096, true), (4097, false), (200_000, false)] {
        let mut block = vec![0x00, 6];
        block.extend(b"server");
        block.push(0x7f);
        let mut n = len - 127;
        while n >= 128 {
            block.push(n as u8 & 0x7f | 0x80);
            n >>= 7;
        }
        block.push(n as u8);
        block.extend(vec![b'x'; len]);
        let told = read(&mut decoder, &block).unwrap();
        assert_eq!(told.len() == 8 + len, kept);
        assert_eq!(told == "server: ?", !kept);
    }
}

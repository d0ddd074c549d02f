use super::super::tests::*;
use super::*;

fn looks_like(client: &[u8], server: &[u8]) -> (Looks, Looks) {
    (looks(client, true), looks(server, false))
}

#[test]
fn frames_where_nothing_is_known() {
    let mut q = Encoder::default();
    let post = q.post("/a");
    let again = q.post("/a");
    let ping = frame(6, 0, 0, &[7; 8]);
    for (bytes, client, server) in [
        (headers(1, false, &post), Looks::Yes, Looks::Maybe),
        (headers(99, true, &again), Looks::Yes, Looks::Maybe),
        (
            [headers(9, false, &post), data(9, true, b"x")].concat(),
            Looks::Yes,
            Looks::Maybe,
        ),
        (frame(8, 0, 0, &[0, 0, 1, 0]), Looks::Maybe, Looks::Maybe),
        (data(7, false, b"data: x\n\n"), Looks::Maybe, Looks::Maybe),
        (ping.clone(), Looks::Maybe, Looks::Maybe),
        // A request's stream is odd; a promise is a server's.
        (headers(2, false, &post), Looks::No, Looks::Maybe),
        (frame(5, 4, 1, &[0, 0, 0, 2, 0x82]), Looks::No, Looks::Maybe),
        // Not to the end, or more than that.
        (ping[..12].to_vec(), Looks::No, Looks::No),
        ([ping.clone(), b"x".to_vec()].concat(), Looks::No, Looks::No),
        ([ping.clone(), vec![0; 20]].concat(), Looks::No, Looks::No),
        (frame(9, 4, 1, &post), Looks::No, Looks::No),
        (frame(11, 0, 1, b""), Looks::No, Looks::No),
        (frame(6, 2, 0, &[0; 8]), Looks::No, Looks::No),
        (frame(8, 0, 1 << 31, &[0; 4]), Looks::No, Looks::No),
        (data(1, false, &[0; 20_000]), Looks::No, Looks::No),
    ] {
        assert_eq!(looks_like(&bytes, &bytes), (client, server), "{bytes:x?}");
    }
}

#[test]
fn other_protocols_look_like_no_frames() {
    let others: [&[u8]; 14] = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"{\"model\": \"m\"}",
        b"5\r\nhello\r\n",
        b"data: {}\n\n",
        b"*1\r\n$4\r\nPING\r\n",
        // PostgreSQL's start, MySQL's packets, Kafka, MongoDB, DNS, TLS, WebSocket, gzip.
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"\x05\x00\x00\x01\x03show",
        b"\x00\x00\x00\x14\x00\x12\x00\x03\x00\x00\x00\x01\x00\x04test\x00\x00\x00\x00",
        b"\x10\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x81\x85\x01\x02\x03\x04hello",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    ];
    for other in others {
        assert_eq!(
            looks_like(other, other),
            (Looks::No, Looks::No),
            "{other:x?}"
        );
    }
    // Nor does noise.
    let mut noise = 1_u64;
    let mut taken = 0;
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..64)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise as u8
            })
            .collect();
        taken += u32::from(looks_like(&bytes, &bytes) != (Looks::No, Looks::No));
    }
    assert_eq!(taken, 0);
}

#[test]
fn the_start_of_a_server() {
    let settings = frame(4, 0, 0, &[0; 300]);
    for n in 0..settings.len() {
        assert!(may_be_settings(&settings[..n]));
    }
    assert!(!may_be_settings(&frame(4, 1, 0, &[])));
    assert!(!may_be_settings(&frame(6, 0, 0, &[0; 8])));
    assert!(!may_be_settings(b"HTTP"));
}

//! Losses, and connections that were there before.

use super::peer::{Deflater, client, frame};
use super::*;

const OBJECT: &str = r#"{"type":"response.done","n":1}"#;

/// A loss anywhere in a row of messages: of what is told nothing is wrong, and what lies behind the
/// frame that it was in is told.
#[test]
fn a_loss_of_any_size_anywhere() {
    for role in ROLES {
        for (sender, make) in [
            (Sender::Server, frame as fn(u8, &[u8]) -> Vec<u8>),
            (Sender::Client, client),
        ] {
            let said: Vec<String> = (0..3)
                .map(|n| format!(r#"{{"type":"some.thing","number":{n}}}"#))
                .collect();
            let frames: Vec<Vec<u8>> = said.iter().map(|s| make(0x81, s.as_bytes())).collect();
            let row = frames.concat();
            for start in 0..row.len() {
                for end in start + 1..=row.len() {
                    let mut talk = Talk::opened(role, PLAIN);
                    if start > 0 {
                        talk.say(sender, &row[..start]);
                    }
                    talk.gap(sender, (end - start) as u64);
                    if end < row.len() {
                        talk.say(sender, &row[end..]);
                    }
                    talk.say(sender, &make(0x81, OBJECT.as_bytes()));
                    talk.close();
                    let told = talk.told();
                    let (last, before) = told[..told.len() - 1].split_last().unwrap();
                    assert!(last.ends_with(OBJECT), "{start} {end} {told:?}");
                    for line in before {
                        let text = line.split_once("text ").map(|(_, text)| text);
                        let right = match text {
                            None => line.starts_with("gap "),
                            Some(text) => match text.split_once(" … of ") {
                                None => said.iter().any(|s| s == text),
                                Some((part, _)) => said.iter().any(|s| s.starts_with(part)),
                            },
                        };
                        assert!(right, "{start} {end} {line}");
                    }
                }
            }
        }
    }
}

/// A gap whose end is known to be within the payload that its head told of.
#[test]
fn a_hole_is_in_its_message_only() {
    let text = [b'x'; 300];
    let mut talk = Talk::opened(Role::Client, PLAIN);
    let bytes = client(0x81, &text);
    talk.say(Sender::Client, &bytes[..100]);
    talk.gap(Sender::Client, 51);
    talk.say(Sender::Client, &bytes[151..]);
    talk.say(Sender::Client, &client(0x81, b"next"));
    // All the rest of a frame.
    talk.say(Sender::Client, &bytes[..100]);
    talk.gap(Sender::Client, bytes.len() as u64 - 100);
    talk.say(Sender::Client, &client(0x81, b"next"));
    let part = format!(">text {} … of 300", "x".repeat(92));
    assert_eq!(talk.told(), [&part, ">text next", &part, ">text next"]);
    assert_eq!(talk.connection.websocket().losses, 0);
    // Of a ping or a close frame.
    talk.say(Sender::Server, &frame(0x89, &[0; 10])[..5]);
    talk.gap(Sender::Server, 7);
    talk.say(Sender::Server, &frame(0x88, &[3, 232])[..3]);
    talk.gap(Sender::Server, 1);
    talk.close();
    assert_eq!(talk.told(), ["closed Server 1005"]);
}

#[test]
fn compressed_messages_after_a_loss() {
    let said = [
        r#"{"type":"response.created","id":"1"}"#,
        r#"{"type":"response.done","id":"1"}"#,
        r#"[0123456789,"zyxwvu"]"#,
    ];
    let mut from = Deflater::new(true);
    let frames = said.map(|s| frame(0xc1, &from.message(s.as_bytes())));
    let mut talk = Talk::opened(Role::Client, &deflating(""));
    talk.say(Sender::Server, &frames[0][..10]);
    talk.gap(Sender::Server, 4);
    talk.say(Sender::Server, &frames[0][14..]);
    talk.say(Sender::Server, &frames[1]);
    talk.say(Sender::Server, &frames[2]);
    let told = talk.told();
    let part = told[0]
        .strip_prefix("<text ")
        .and_then(|line| line.split_once(" … of "));
    let (part, _) = part.unwrap();
    assert!(said[0].starts_with(part), "{told:?}");
    assert_eq!(told[1..], ["gap Server", &format!("<text {}", said[2])]);
    // Nothing is believed that refers to what is missing, until something does not.
    let mut from = Deflater::new(false);
    let frames = said.map(|s| frame(0xc1, &from.message(s.as_bytes())));
    let mut talk = Talk::opened(Role::Client, &deflating("; server_no_context_takeover"));
    talk.gap(Sender::Server, 1000);
    talk.say(Sender::Server, &frames[2]);
    talk.say(Sender::Server, &frames[1]);
    let gap = || "gap Server".to_owned();
    assert_eq!(talk.told(), [gap(), gap(), format!("<text {}", said[1])]);
}

#[test]
fn in_mid_connection() {
    let object = |n: u32| format!(r#"{{"type":"some.thing","number":{n}}}"#);
    let deflated = Deflater::new(true).message(object(1).as_bytes());
    for role in ROLES {
        for (first, want) in [
            (frame(0x81, object(1).as_bytes()), true),
            (frame(0xc1, &deflated), true),
            (
                [frame(0x81, object(1).as_bytes()), frame(0x81, b"a")].concat(),
                true,
            ),
            // No object, not in one frame, in no frame, not from its start.
            (frame(0x81, b"hello, hello, hello"), false),
            (frame(0x81, b"{}"), false),
            (frame(0x81, b"{\"type\":\"x\",}"), false),
            (frame(1, object(1).as_bytes()), false),
            (object(1).into_bytes(), false),
            (frame(0x81, object(1).as_bytes())[1..].to_vec(), false),
            (frame(0x82, object(1).as_bytes()), false),
            (client(0x81, object(1).as_bytes()), false),
        ] {
            let mut talk = Talk::unseen(role);
            talk.say(Sender::Server, &first[..1.min(first.len())]);
            talk.say(Sender::Server, &first[1..]);
            let told = talk.told();
            if want {
                let line = format!("<text {}", object(1));
                assert_eq!(told[..2], ["half-seen socket tid7", &line], "{first:?}");
                assert_eq!(talk.connection.verdict(), Verdict::WebSocket);
                // The other side is found for itself.
                talk.say(Sender::Client, b"\x12\x34\x56");
                talk.say(Sender::Client, &client(0x81, b"not known to begin here"));
                talk.say(Sender::Client, &client(0x81, object(2).as_bytes()));
                talk.say(Sender::Client, &client(0x82, b"abc"));
                let told = talk.told();
                let line = format!(">text {}", object(2));
                assert!(told.ends_with(&[line, ">binary 3".to_owned()]), "{told:?}");
            } else {
                assert!(told.is_empty(), "{first:?} {told:?}");
                assert_ne!(talk.connection.verdict(), Verdict::WebSocket);
            }
        }
        // By what the client says.
        let mut talk = Talk::unseen(role);
        talk.say(Sender::Client, &client(0x81, object(1).as_bytes()));
        let line = format!(">text {}", object(1));
        assert_eq!(talk.told(), ["half-seen socket tid7", &line]);
    }
}

/// Clients that read the head of a frame for itself.
#[test]
fn a_head_may_come_alone() {
    let long = format!(r#"{{"type":"some.thing","text":"{}"}}"#, "x".repeat(500));
    let bytes = frame(0x81, long.as_bytes());
    let mut talk = Talk::unseen(Role::Client);
    for piece in [&bytes[..2], &bytes[2..4], &bytes[4..200], &bytes[200..]] {
        talk.say(Sender::Server, piece);
    }
    assert_eq!(talk.told().len(), 2);
    // What only looks like one is passed over at the next piece.
    let mut talk = Talk::opened(Role::Client, PLAIN);
    talk.gap(Sender::Server, 5);
    talk.say(Sender::Server, b"\x81\x10");
    talk.say(Sender::Server, &bytes);
    let told = talk.told();
    // Where it was lost, and where it was found again.
    let gap = || "gap Server".to_owned();
    assert_eq!(told, [gap(), gap(), format!("<text {long}")]);
    assert_eq!(talk.connection.websocket().resync_bytes, 2);
}

#[test]
fn a_search_is_bounded() {
    let mut talk = Talk::opened(Role::Client, PLAIN);
    talk.gap(Sender::Server, 5);
    let mut start = vec![0x81, 126, 0xff, 0xf1, b'{'];
    start.resize(100, b'"');
    talk.say(Sender::Server, &start);
    for _ in 0..100 {
        talk.say(Sender::Server, &[b'x'; 4096]);
    }
    assert!(talk.connection.websocket().resync_bytes >= 300_000);
    let object = frame(0x81, OBJECT.as_bytes());
    talk.say(Sender::Server, &object);
    assert_eq!(talk.told().last(), Some(&format!("<text {OBJECT}")));
}

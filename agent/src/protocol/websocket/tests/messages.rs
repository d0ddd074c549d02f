//! Messages of every form, well made and not, as the known test suites of WebSocket have them.

use super::peer::{Deflater, client, frame};
use super::*;

/// What the server says, and what is told of it.
fn heard(response: &[u8], pieces: &[Vec<u8>]) -> (Vec<String>, Counters) {
    let mut talk = Talk::opened(Role::Client, response);
    talk.say(Sender::Server, &pieces.concat());
    let whole = talk.told();
    let mut split = Talk::opened(Role::Client, response);
    for byte in pieces.concat().chunks(1) {
        split.say(Sender::Server, byte);
    }
    assert_eq!(split.told(), whole);
    (whole, talk.connection.websocket())
}

#[test]
fn payloads_of_every_length() {
    for len in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 200_000] {
        let text = "x".repeat(len);
        let mut talk = Talk::opened(Role::Client, PLAIN);
        talk.say(Sender::Server, &frame(0x81, text.as_bytes()));
        talk.say(Sender::Client, &client(0x81, text.as_bytes()));
        talk.say(Sender::Client, &client(0x82, text.as_bytes()));
        let binary = format!(">binary {len}");
        let want = [format!("<text {text}"), format!(">text {text}"), binary];
        assert_eq!(talk.told(), want, "{len}");
    }
}

#[test]
fn fragments() {
    for (pieces, want, malformed) in [
        // Control frames between them, empty ones, a binary one.
        (
            vec![frame(1, b"fragment1"), frame(0x80, b"fragment2")],
            vec!["<text fragment1fragment2"],
            0,
        ),
        (
            vec![
                frame(1, b"a"),
                frame(0x89, b"p"),
                frame(0, b""),
                frame(0x8a, b"q"),
                frame(0x80, b"b"),
                frame(0x81, b"c"),
            ],
            vec!["<text ab", "<text c"],
            0,
        ),
        (
            vec![frame(1, b""), frame(0, b""), frame(0x80, b"")],
            vec!["<text "],
            0,
        ),
        (
            vec![frame(2, &[0; 10]), frame(0, &[1; 5]), frame(0x80, b"")],
            vec!["<binary 15"],
            0,
        ),
        // A continuation of nothing, and a message in the middle of another.
        (
            vec![frame(0x80, b"x"), frame(0, b"y"), frame(0x81, b"z")],
            vec!["<text z"],
            2,
        ),
        (
            vec![frame(1, b"cut"), frame(0x81, b"z"), frame(0x80, b"late")],
            vec!["<text cut … of 3", "<text z"],
            2,
        ),
        // What is no frame ends it: nothing after it in the same piece can be trusted.
        (
            vec![frame(0x81, b"a"), frame(0x83, b"b"), frame(0x81, b"c")],
            vec!["<text a", "gap Server"],
            1,
        ),
        (
            vec![frame(0xc1, b"a"), frame(0x81, b"c")],
            vec!["gap Server"],
            1,
        ),
        (
            vec![frame(1, b"a"), vec![0x89, 126, 0, 200], frame(0x81, b"c")],
            vec!["<text a … of 1", "gap Server"],
            1,
        ),
    ] {
        let (told, counters) = heard(PLAIN, &pieces);
        assert_eq!(told, want);
        assert_eq!(counters.malformed_frames, malformed, "{want:?}");
    }
}

#[test]
fn closing() {
    for (pieces, want) in [
        (vec![frame(0x88, &[3, 232])], "closed Server 1000"),
        (vec![frame(0x88, b"")], "closed Server 1005"),
        (vec![frame(0x88, &[15, 160, b'x'])], "closed Server 4000"),
        // Nothing counts after it.
        (
            vec![
                frame(0x88, &[3, 243]),
                frame(0x81, b"x"),
                frame(0x88, &[3, 232]),
            ],
            "closed Server 1011",
        ),
    ] {
        let mut talk = Talk::opened(Role::Client, PLAIN);
        talk.say(Sender::Server, &pieces.concat());
        assert!(talk.told().is_empty());
        talk.say(Sender::Client, &client(0x88, &[3, 232]));
        assert_eq!(talk.told(), [want]);
        talk.close();
        assert!(talk.told().is_empty());
    }
    // A message that was under way, and a connection that just ends.
    let mut talk = Talk::opened(Role::Client, PLAIN);
    talk.say(Sender::Client, &client(1, b"half"));
    let (connection, ids, sink) = (&mut talk.connection, &mut talk.ids, &mut talk.sink);
    connection.end_of_stream(BootTime(50), ids, sink);
    assert_eq!(talk.told(), [">text half … of 4", "closed by the server"]);
}

#[test]
fn compressed_messages() {
    let long = "the same words, the same words again; ".repeat(400);
    let parameters = [
        ("", true, true),
        ("; server_no_context_takeover", true, false),
        ("; client_no_context_takeover", false, true),
        (
            "; client_no_context_takeover; server_no_context_takeover; server_max_window_bits=9",
            false,
            false,
        ),
    ];
    for (parameters, client_takeover, server_takeover) in parameters {
        let (mut to, mut from) = (
            Deflater::new(client_takeover),
            Deflater::new(server_takeover),
        );
        let mut talk = Talk::opened(Role::Client, &deflating(parameters));
        for text in ["first words", &long, "", "first words", &long] {
            let compressed = from.message(text.as_bytes());
            let (a, b) = compressed.split_at(compressed.len() / 2);
            talk.say(Sender::Server, &frame(0x41, a));
            talk.say(Sender::Server, &frame(0x89, b"ping"));
            talk.say(Sender::Server, &frame(0x80, b));
            talk.say(Sender::Client, &client(0xc1, &to.message(text.as_bytes())));
            talk.say(Sender::Client, &client(0xc2, &to.message(text.as_bytes())));
            // Not every message needs to be.
            talk.say(Sender::Server, &frame(0x81, b"plain"));
            assert_eq!(
                talk.told(),
                [
                    format!("<text {text}"),
                    format!(">text {text}"),
                    format!(">binary {}", text.len()),
                    "<text plain".to_owned(),
                ]
            );
        }
    }
}

#[test]
fn what_cannot_be_inflated_takes_no_other_with_it() {
    let mut from = Deflater::new(true);
    let mut talk = Talk::opened(Role::Client, &deflating(""));
    talk.say(
        Sender::Server,
        &frame(0xc1, &from.message(b"one two three")),
    );
    talk.say(Sender::Server, &frame(0xc1, &[0xff, 0xff, 0xff]));
    // It refers to what was said before the broken one: nobody knows whether that still holds.
    talk.say(
        Sender::Server,
        &frame(0xc1, &from.message(b"one two three four")),
    );
    talk.say(Sender::Server, &frame(0x81, b"plain"));
    assert_eq!(
        talk.told(),
        [
            "<text one two three",
            "<text  … of 0",
            "gap Server",
            "<text plain"
        ]
    );
    let counters = talk.connection.websocket();
    assert_eq!((counters.undecodable, counters.uncertain), (1, 1));
    // Where each stands for itself the next one is whole again.
    let mut from = Deflater::new(false);
    let mut talk = Talk::opened(Role::Client, &deflating("; server_no_context_takeover"));
    talk.say(Sender::Server, &frame(0xc1, &[0xff, 0xff, 0xff]));
    talk.say(
        Sender::Server,
        &frame(0xc1, &from.message(b"one two three")),
    );
    assert_eq!(talk.told(), ["<text  … of 0", "<text one two three"]);
}

#[test]
fn memory_is_bounded() {
    let huge = vec![b'x'; MAX_MESSAGE_BYTES + 5];
    let mut talk = Talk::opened(Role::Client, PLAIN);
    talk.say(Sender::Server, &frame(0x81, &huge));
    talk.say(Sender::Client, &client(0x82, &huge));
    talk.say(Sender::Server, &frame(0x81, b"after"));
    let told = talk.told();
    assert!(told[0].ends_with(&format!("x … of {}", huge.len())));
    assert_eq!(
        told[0].len(),
        MAX_MESSAGE_BYTES + "<text ".len() + " … of 4194309".len()
    );
    assert_eq!(told[1], format!(">binary {}", huge.len()));
    assert_eq!(told[2], "<text after");
    assert_eq!(talk.connection.websocket().over_limit, 1);
    // A bomb: what it makes is bounded, and what comes after it is doubtful.
    let mut from = Deflater::new(true);
    let bomb = from.message(&vec![b'y'; MAX_INFLATED_BYTES as usize + 10]);
    let mut talk = Talk::opened(Role::Client, &deflating(""));
    talk.say(Sender::Server, &frame(0xc1, &bomb));
    talk.say(Sender::Server, &frame(0xc1, &from.message(b"qwertz 123")));
    let told = talk.told();
    assert!(told[0].len() < MAX_MESSAGE_BYTES + 100, "{}", told[0].len());
    assert_eq!(told[1], "<text qwertz 123");
    assert_eq!(talk.connection.websocket().undecodable, 1);
}

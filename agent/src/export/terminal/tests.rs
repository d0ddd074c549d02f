//! Pages as they look.

use super::*;
use crate::export::test_support::{Sink, resource, span};
use crate::model::call::Operation;
use crate::model::exchange::Role;
use crate::model::span::{Attributes, Value};
use crate::model::time::BootTime;
use crate::redact::Redacted;
use crate::vocabulary::attr;
use std::borrow::Cow;
use std::io;

fn options(width: Width) -> Options {
    Options {
        colour: false,
        live: false,
        width,
        verbosity: 0,
        zone: Zone::Utc,
        title: None,
    }
}

fn set(span: &mut Span, name: &'static str, value: impl Into<Value>) {
    span.attributes.push((Cow::Borrowed(name), value.into()));
}

fn chat(id: u64) -> Span {
    let attributes: Attributes = vec![
        (Cow::Borrowed(attr::OPERATION_NAME), Value::from("chat")),
        (
            Cow::Borrowed(attr::REQUEST_MODEL),
            Value::from("gpt-4o-mini"),
        ),
        (
            Cow::Borrowed(attr::RESPONSE_MODEL),
            Value::from("gpt-4o-mini-2024-07-18"),
        ),
        (Cow::Borrowed(attr::USAGE_INPUT_TOKENS), Value::from(1210)),
        (Cow::Borrowed(attr::USAGE_OUTPUT_TOKENS), Value::from(87)),
        (
            Cow::Borrowed(attr::RESPONSE_FINISH_REASONS),
            Value::from(vec!["stop".to_owned()]),
        ),
        (
            Cow::Borrowed(attr::RESPONSE_TIME_TO_FIRST_CHUNK),
            Value::from(0.312),
        ),
    ];
    span(id, attributes, resource("shop", 4242))
}

fn failed() -> Span {
    let mut s = span(
        2,
        vec![
            (
                Cow::Borrowed(attr::OPERATION_NAME),
                Value::from("embeddings"),
            ),
            (
                Cow::Borrowed(attr::REQUEST_MODEL),
                Value::from("text-embedding-3-small"),
            ),
            (
                Cow::Borrowed(attr::ERROR_TYPE),
                Value::from("rate_limit_exceeded"),
            ),
        ],
        resource("a service with a very long name", 4242),
    );
    s.error = Some("Too many\nrequests \u{1b}[2Jin this organisation, come back later".to_owned());
    s
}

/// What is shown of these spans.
fn shown(options: Options, spans: &[Span], losses: &[Loss]) -> String {
    let sink = Sink::default();
    let mut terminal = Terminal::new("stdout", Box::new(sink.clone()), options);
    for s in spans {
        terminal.span(s).unwrap();
    }
    terminal.shutdown(losses).unwrap();
    sink.text()
}

#[test]
fn a_page_in_a_pipe() {
    let mut rich = chat(1);
    set(&mut rich, attr::USAGE_CACHE_READ, 1024);
    set(&mut rich, attr::USAGE_REASONING, 64);
    set(&mut rich, attr::HTTP_RESEND_COUNT, 1);
    set(&mut rich, attr::DEFECTS, vec!["response_gap".to_owned()]);
    set(
        &mut rich,
        attr::OUTPUT_MESSAGES,
        r#"[{"role":"assistant","parts":[{"type":"tool_call","name":"a"},{"type":"tool_call","name":"b"}]}]"#,
    );
    let losses = [
        Loss {
            name: "events: ring buffer full".to_owned(),
            count: 3,
        },
        Loss {
            name: "nothing of this".to_owned(),
            count: 0,
        },
    ];
    let options = Options {
        title: Some("genspan: tracing 1 process".to_owned()),
        ..options(Width::Unlimited)
    };
    assert_eq!(
        shown(options, &[chat(1), failed(), rich], &losses),
        "\
genspan: tracing 1 process
TIME      PROCESS             CALL        MODEL                         IN    OUT    FIRST    TOTAL  END
03:04:05  shop/4242           chat        gpt-4o-mini                 1210     87   312 ms   1.50 s  stop · → gpt-4o-mini-2024-07-18
03:04:05  a service wi…/4242  embeddings  text-embedding-3-small         -      -            1.50 s  ✗ rate_limit_exceeded: Too many requests ␛[2Jin this organisation, come back later
03:04:05  shop/4242           chat        gpt-4o-mini                 1210     87   312 ms   1.50 s  stop · 2 tool calls · 1024 cached · 64 reasoning · → gpt-4o-mini-2024-07-18 · 1 retry · seen with response_gap
3 calls · 1 error · 2420 tokens in, 174 out
lost: 3 events: ring buffer full
"
    );
}

#[test]
fn a_page_on_a_narrow_terminal() {
    let page = shown(options(Width::Columns(80)), &[chat(1), failed()], &[]);
    assert_eq!(
        page,
        "\
TIME      MODEL                 IN    OUT    FIRST    TOTAL  END
03:04:05  gpt-4o-mini         1210     87   312 ms   1.50 s  stop · → gpt-4o-…
03:04:05  text-embedding-…       -      -            1.50 s
          ✗ rate_limit_exceeded: Too many requests ␛[2Jin this organisation, c…
2 calls · 1 error · 1210 tokens in, 87 out
"
    );
    for columns in 62..200 {
        let page = shown(options(Width::Columns(columns)), &[chat(1), failed()], &[]);
        for line in page.lines() {
            assert!(text::width(line) < columns, "{columns}: {line}");
        }
    }
}

#[test]
fn colours_frame_the_same_text() {
    let options = Options {
        colour: true,
        ..options(Width::Unlimited)
    };
    let page = shown(options, &[failed()], &[]);
    assert!(page.contains("\x1b[31m✗ rate_limit_exceeded: Too many requests ␛[2J"));
    assert!(page.contains("\x1b[36mtext-embedding-3-small"));
    // Every escape character is the start of a colour.
    let escapes = page.matches('\x1b').count();
    let colours = page.split("\x1b[").skip(1);
    let sgr = |s: &str| {
        let end = s.find(|c: char| c != ';' && !c.is_ascii_digit());
        end.is_some_and(|at| s[at..].starts_with('m'))
    };
    assert_eq!(colours.filter(|s| sgr(s)).count(), escapes);
}

#[test]
fn messages_and_attributes() {
    let mut s = chat(1);
    set(
        &mut s,
        attr::SYSTEM_INSTRUCTIONS,
        r#"[{"type":"text","content":"Be brief."}]"#,
    );
    set(
        &mut s,
        attr::INPUT_MESSAGES,
        r#"[
        {"role":"user","parts":[{"type":"text","content":"0"}]},
        {"role":"user","parts":[{"type":"text","content":"1"}]},
        {"role":"user","parts":[{"type":"text","content":"2"}]},
        {"role":"user","parts":[{"type":"text","content":"3"}]},
        {"role":"user","parts":[{"type":"text","content":"4"}]},
        {"role":"user","parts":[
            {"type":"text","content":"What is the weather in Lyon, and what will it be next week, if that can be told?"},
            {"type":"blob","modality":"image","mime_type":"image/png","content":"aGk="}]},
        {"role":"assistant","parts":[{"type":"tool_call","id":"c","name":"weather","arguments":{"city":"Lyon"}}]},
        {"role":"tool","parts":[{"type":"tool_call_response","id":"c","response":"drizzle"}]}]"#,
    );
    set(
        &mut s,
        attr::OUTPUT_MESSAGES,
        r#"[{"role":"assistant","parts":[{"type":"reasoning","content":"hm"},{"type":"text","content":"Rain.\n\n\u001b[31m漢字"}],"finish_reason":"stop"}]"#,
    );
    let options = Options {
        verbosity: 1,
        ..options(Width::Columns(80))
    };
    let page = shown(options.clone(), &[s.clone()], &[]);
    let messages: Vec<_> = page.lines().skip(2).collect();
    assert_eq!(
        messages.join("\n"),
        "          system     Be brief.
                     … 2 earlier messages
          user       2
          user       3
          user       4
          user       What is the weather in Lyon, and what will it be next
                     week, if that can be told?
                     [image blob image/png: 4 characters of base64]
          assistant  → weather({\"city\":\"Lyon\"})
          tool       ← drizzle
          assistant  hm
                     Rain.

                     ␛[31m漢字
1 call · 1210 tokens in, 87 out"
    );
    let all = Options {
        verbosity: 2,
        ..options
    };
    let page = shown(all, &[s], &[]);
    assert!(page.contains("          trace_id = 0af7651916cd43dd8448eb211c80319c\n"));
    let line = format!("          {} = [stop]\n", attr::RESPONSE_FINISH_REASONS);
    assert!(page.contains(&line), "{page}");
    assert!(page.contains("          service.name = shop\n"));
    assert_eq!(page.matches("Be brief.").count(), 1);
}

#[test]
fn long_parts_are_cut() {
    let mut s = chat(1);
    let text = serde_json::json!([{"role": "user", "parts": [
        {"type": "text", "content": "line\n".repeat(100)}]}]);
    set(&mut s, attr::INPUT_MESSAGES, text.to_string());
    let options = Options {
        verbosity: 1,
        ..options(Width::Unlimited)
    };
    let page = shown(options, &[s], &[]);
    assert_eq!(page.matches("line\n").count(), 12);
    assert!(page.contains("… (500 characters)\n"));
}

fn progress(exchange: u64, pid: u32, chunks: u64) -> CallProgress {
    CallProgress {
        role: Role::Client,
        exchange: ExchangeId(exchange),
        pid,
        operation: Operation::Chat,
        model: Some("gpt-4o\u{1b}[2J".to_owned()),
        start: BootTime(1_000_000_000),
        now: BootTime(2_900_000_000),
        first_chunk: (chunks > 0).then_some(BootTime(1_312_000_000)),
        chunks,
    }
}

/// What a screen shows after these bytes: it knows newlines and the three sequences that the
/// view uses.
fn screen(bytes: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut row = 0;
    let mut rest = bytes;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("\r\x1b[") {
            let (up, after) = after.split_once('A').unwrap();
            row -= up.parse::<usize>().unwrap();
            rest = after.strip_prefix("\x1b[0J").unwrap();
            lines.truncate(row);
            lines.push(String::new());
        } else if let Some(after) = rest.strip_prefix('\n') {
            row += 1;
            lines.push(String::new());
            rest = after;
        } else {
            let c = rest.chars().next().unwrap();
            assert!(!c.is_control(), "{rest:?}");
            lines[row].push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    assert_eq!(lines.pop().as_deref(), Some(""));
    lines
}

#[test]
fn running_calls_are_redrawn_in_place() {
    let sink = Sink::default();
    let options = Options {
        live: true,
        ..options(Width::Columns(130))
    };
    let mut terminal = Terminal::new("stdout", Box::new(sink.clone()), options);
    let now = Instant::now();
    terminal.live.progress(&progress(1, 4242, 0), now);
    terminal.live.progress(&progress(2, 7, 42), now);
    terminal.flush_at(now).unwrap();
    assert_eq!(
        screen(&sink.text())[1..],
        [
            "⠋         /4242               chat        gpt-4o␛[2J                                         1.90 s  waiting",
            "⠋         /7                  chat        gpt-4o␛[2J                                312 ms   1.90 s  42 chunks",
        ]
    );
    // Not before the next frame, and time goes on in between.
    let before = sink.text().len();
    terminal.flush_at(now + FRAME / 2).unwrap();
    assert_eq!(sink.text().len(), before);
    terminal.flush_at(now + FRAME).unwrap();
    let lines = screen(&sink.text());
    assert_eq!(lines.len(), 3);
    assert!(
        lines[1].starts_with("⠙ ") && lines[1].contains("2.00 s"),
        "{}",
        lines[1]
    );
    // The finished call takes the running one's place.
    terminal.span(&chat(1)).unwrap();
    terminal.flush_at(now + 2 * FRAME).unwrap();
    let lines = screen(&sink.text());
    assert_eq!(lines.len(), 3);
    assert!(lines[1].contains("shop/4242"), "{}", lines[1]);
    assert!(lines[2].contains("/7 "), "{}", lines[2]);
    terminal.progress_over(ExchangeId(2));
    terminal.flush_at(now + 3 * FRAME).unwrap();
    assert_eq!(screen(&sink.text()).len(), 2);
    // Nothing runs: nothing is written.
    let before = sink.text().len();
    terminal.flush_at(now + 4 * FRAME).unwrap();
    assert_eq!(sink.text().len(), before);
}

#[test]
fn running_calls_are_bounded_and_leave_no_trace() {
    let sink = Sink::default();
    let live = Options {
        live: true,
        ..options(Width::Columns(130))
    };
    let mut terminal = Terminal::new("stdout", Box::new(sink.clone()), live.clone());
    for exchange in 0..5000 {
        terminal.progress(&progress(exchange, 1, 1));
    }
    terminal.flush().unwrap();
    let lines = screen(&sink.text());
    assert_eq!(lines.len(), 1 + 8 + 1);
    assert_eq!(lines[9], "  … and 1016 more calls running");
    terminal.shutdown(&[]).unwrap();
    assert_eq!(screen(&sink.text())[1..], ["0 calls"]);

    let sink = Sink::default();
    let mut terminal = Terminal::new("stdout", Box::new(sink.clone()), live);
    terminal.progress(&progress(1, 1, 1));
    terminal.flush().unwrap();
    assert_eq!(screen(&sink.text()).len(), 2);
    drop(terminal);
    assert_eq!(screen(&sink.text()).len(), 1);
}

#[test]
fn a_closed_pipe_is_told() {
    let sink = Sink::default();
    sink.fail(io::ErrorKind::BrokenPipe);
    let mut terminal = Terminal::new("stdout", Box::new(sink), options(Width::Unlimited));
    terminal.span(&chat(1)).unwrap();
    assert!(terminal.flush().unwrap_err().is_closed());
}

/// How long the call took is not known, and that it is so is said in words.
#[test]
fn a_half_seen_call_has_no_duration() {
    let mut half = chat(1);
    half.attributes.retain(|(name, _)| {
        name != attr::REQUEST_MODEL && name != attr::RESPONSE_TIME_TO_FIRST_CHUNK
    });
    let defects = ["attached_midway", "response_cut"].map(str::to_owned);
    set(&mut half, attr::DEFECTS, defects.to_vec());
    let page = shown(options(Width::Unlimited), &[half, chat(2)], &[]);
    let lines: Vec<&str> = page.lines().collect();
    let whole = lines.iter().find(|l| l.contains("312 ms")).unwrap();
    let half = lines
        .iter()
        .find(|l| l.contains("from the middle"))
        .unwrap();
    assert!(whole.contains("1.50 s"), "{page}");
    assert!(!half.contains("1.50 s"), "{page}");
    assert!(
        half.ends_with("stop · seen from the middle · seen with response_cut"),
        "{page}"
    );
}

#[test]
fn the_summary_says_what_was_redacted() {
    let sink = Sink::default();
    let options = options(Width::Unlimited);
    let mut terminal = Terminal::new("stdout", Box::new(sink.clone()), options);
    let count = |rule: &str, count| Redacted {
        rule: rule.to_owned(),
        count,
    };
    terminal.redacted(&[count("openai_key", 1)]);
    terminal.redacted(&[count("openai_key", 12), count("email", 1)]);
    terminal.shutdown(&[]).unwrap();
    let page = sink.text();
    assert!(
        page.ends_with("0 calls\nredacted: 12 openai_key, 1 email\n"),
        "{page}"
    );
}

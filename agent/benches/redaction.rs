//! Redaction by itself: bytes a second through each set of rules, on text that holds nothing, and on
//! text in which every few lines hold something. `cargo bench --bench redaction`.

#![allow(missing_docs, reason = "criterion's macros make items without")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use genspan::redact::{Pattern, Redactor, Rules, Selection};

const BYTES: usize = 64 << 10;

fn text(line: &str) -> String {
    let mut text = line.repeat(BYTES / line.len() + 1);
    text.truncate(BYTES);
    text
}

fn redactor(selection: &str, patterns: &[&str]) -> Redactor {
    let mut rules = Rules::none();
    rules.rules.extend(selection.parse::<Selection>());
    rules
        .patterns
        .extend(patterns.iter().flat_map(|p| p.parse::<Pattern>()));
    Redactor::new(&rules).unwrap_or_default()
}

fn bytes(c: &mut Criterion) {
    let prose = text(
        "The assistant was asked at 10:42 on 2026-11-27 whether the weather in Hangzhou (30.27 N, 120.15 E) \
         would hold; it said so, and pointed to https://weather.example/hangzhou?day=3 for more.\n",
    );
    let mixed = text(
        "A user wrote from li.wei@mail.example.cn, +86 571 8888 0132, that card 4111 1111 1111 1111 was \
         refused with token hf_abcdefghij0123456789ABCDEFGHIJ01 at https://shop.example/pay, as said on \
         2026-11-27T10:42:00Z in the log of request 550e8400-e29b-41d4-a716-446655440000, and again later.\n",
    );
    let own = [
        "employee=E-[0-9]{6}",
        r"case=(?i)case\s+no\.?\s*(?P<secret>\d{4,})",
    ];
    let mut group = c.benchmark_group("redaction");
    group.throughput(Throughput::Bytes(BYTES as u64));
    for (name, redactor) in [
        ("keys", redactor("keys", &[])),
        ("all", redactor("all", &[])),
        ("all_and_two_patterns", redactor("all", &own)),
    ] {
        group.bench_function(format!("{name}_prose"), |b| {
            b.iter(|| redactor.text(black_box(&prose)).len());
        });
        group.bench_function(format!("{name}_mixed"), |b| {
            b.iter(|| redactor.text(black_box(&mixed)).len());
        });
    }
    let short = "gpt-4o-mini-2024-07-18";
    let keys = Redactor::default();
    group.throughput(Throughput::Elements(1));
    group.bench_function("keys_short_attribute", |b| {
        b.iter(|| keys.text(black_box(short)).len());
    });
    group.finish();
}

criterion_group!(benches, bytes);
criterion_main!(benches);

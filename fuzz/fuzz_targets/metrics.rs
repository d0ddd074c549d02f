//! A model server's page of metrics, whatever it says, gives what makes sense and no more, within bounds; and
//! what is read of it is read again when it is written anew.
#![no_main]

use genspan::metrics::Observed;
use genspan::scrape::engine::Engine;
use genspan::scrape::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|page: &str| {
    for engine in [Engine::Vllm, Engine::Sglang] {
        let read = engine.read(page);
        assert!(read.found.len() <= page.lines().count());
        for one in &read.found {
            assert!(match one.value {
                Observed::Gauge(value) => value.is_finite() && value >= 0.0,
                Observed::Total(_) => true,
            });
        }
    }
    let mut again = String::new();
    let mut read = Vec::new();
    text::read(
        page,
        |_| true,
        |sample| {
            let quoted = |(name, value): &(&str, std::borrow::Cow<'_, str>)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                format!("{name}=\"{}\"", value.replace('\n', "\\n"))
            };
            let labels: Vec<String> = sample.labels.iter().map(quoted).collect();
            again += &format!(
                "{}{{{}}} {:?}\n",
                sample.name,
                labels.join(","),
                sample.value
            );
            read.push(whole(&sample));
        },
    );
    // Written anew a line may be longer than one that is read.
    if again.lines().all(|line| line.len() < 8192) {
        let mut got = Vec::new();
        let senseless = text::read(&again, |_| true, |sample| got.push(whole(&sample)));
        assert_eq!(senseless, 0, "{again}");
        assert_eq!(got, read, "{again}");
    }
});

/// A name, labels, and the bits of a value.
type Whole = (String, Vec<(String, String)>, u64);

/// All that is read of a sample.
fn whole(sample: &text::Sample<'_>) -> Whole {
    let labels = sample.labels.iter();
    let labels = labels.map(|(name, value)| ((*name).to_owned(), value.to_string()));
    // Not every number that is none has the same bits, nor is it written with them.
    let value = if sample.value.is_nan() {
        f64::NAN
    } else {
        sample.value
    };
    (sample.name.to_owned(), labels.collect(), value.to_bits())
}

//! Token counts, in all the spellings that models of DashScope's have.

use crate::model::call::Usage;
use crate::provider::json::Object;
use crate::provider::json::field;
use crate::provider::openai::usage as openai;

/// Reads a `usage` object.
pub(super) fn read(usage: &Object) -> Usage {
    let count = |key: &str| field::int(usage, key).filter(|n| *n >= 0);
    let mut read = openai::read(usage);
    read.cache_read = count("cache_read_input_tokens").or(read.cache_read);
    let written = count("cache_creation_input_tokens");
    read.cache_write = written.or(read.cache_write);
    // Older multimodal models count pictures and sound beside the whole.
    let [_, image, audio] = &mut read.input_by_modality;
    *image = image.or_else(|| count("image_tokens"));
    *audio = audio.or_else(|| count("audio_tokens"));
    read
}

/// Reads that of an answer without output tokens: the total is the input.
pub(super) fn of_input(usage: &Object) -> Usage {
    let mut read = read(usage);
    read.input = read
        .input
        .or_else(|| field::int(usage, "total_tokens").filter(|n| *n >= 0));
    read.output = None;
    read
}

/// Reads that of an application: the sum over the models that it used, and the model when it is
/// but one.
pub(super) fn of_models(usage: &Object) -> (Usage, Option<String>) {
    let models = field::list(usage, "models").unwrap_or_default();
    let sum = |key: &str| {
        let counts = models
            .iter()
            .filter_map(|m| field::int(m.as_object()?, key).filter(|n| *n >= 0));
        counts.reduce(i64::saturating_add)
    };
    let total = Usage {
        input: sum("input_tokens"),
        output: sum("output_tokens"),
        ..Usage::default()
    };
    let model = match models {
        [only] => only.as_object().and_then(|m| field::owned(m, "model_id")),
        _ => None,
    };
    (total, model)
}

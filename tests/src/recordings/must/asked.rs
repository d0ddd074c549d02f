//! What a request says to a model: messages, instructions, tools. Each provider's own form of it,
//! read in the simplest way.

use super::{Must, arguments, first, text, tool_call};
use serde_json::{Value, json};

/// Demands the messages and tools of a chat in OpenAI's form, which many share.
pub(super) fn chat(must: &mut Must, asked: &Value) {
    must.input = list(&asked["messages"]).map(|all| all.iter().map(message).collect());
    let old = list(&asked["functions"]).into_iter().flatten();
    let new = list(&asked["tools"]).into_iter().flatten();
    let tools = new.map(|t| tool(&t["type"], first(t, &["/function"]).unwrap_or(t)));
    let tools = tools.chain(old.map(|f| tool(&json!("function"), f)));
    must.tools = Some(tools.collect());
}

/// Demands what Cohere's chat asked in its first version: what was said before, and a message.
pub(super) fn conversation(must: &mut Must, asked: &Value) {
    let before = list(&asked["chat_history"]).into_iter().flatten();
    let before = before.map(|m| {
        let role = match m["role"].as_str() {
            Some("CHATBOT") => "assistant".to_owned(),
            role => role.unwrap_or_default().to_lowercase(),
        };
        said(&role, vec![text(&m["message"])])
    });
    let now = said("user", vec![text(&asked["message"])]);
    must.input = Some(before.chain([now]).collect());
    must.system = Some(texts(&asked["preamble"]));
}

/// Demands one text of the user, where there is one.
pub(super) fn prompt(must: &mut Must, prompt: &Value) {
    if prompt.is_string() {
        must.asks(&[("user", vec![text(prompt)])]);
    }
}

fn message(m: &Value) -> Value {
    let role = m["role"].as_str().unwrap_or_default();
    if matches!(role, "tool" | "function") {
        return said(role, vec![answered(&m["tool_call_id"], &m["content"])]);
    }
    let mut parts = Vec::new();
    let thought = first(m, &["/reasoning_content", "/reasoning", "/thinking"]);
    parts.extend(thought.map(|t| json!({"type": "reasoning", "content": t})));
    parts.extend(texts(&m["content"]));
    for call in list(&m["tool_calls"]).into_iter().flatten() {
        let function = &call["function"];
        let given = arguments(&function["arguments"]);
        parts.push(tool_call(&call["id"], &function["name"], &given));
    }
    if let Some(old) = m.get("function_call").filter(|f| f.is_object()) {
        let given = arguments(&old["arguments"]);
        parts.push(tool_call(&Value::Null, &old["name"], &given));
    }
    said(role, parts)
}

/// Demands what Anthropic's messages ask.
pub(super) fn anthropic(must: &mut Must, asked: &Value) {
    let all = list(&asked["messages"]).map(|all| {
        let said_by = |m: &Value| {
            let blocks = match &m["content"] {
                one @ Value::String(_) => vec![text(one)],
                several => list(several)
                    .into_iter()
                    .flatten()
                    .filter_map(block)
                    .collect(),
            };
            said(m["role"].as_str().unwrap_or_default(), blocks)
        };
        all.iter().map(said_by).collect()
    });
    must.input = all;
    must.system = Some(texts(&asked["system"]));
    let tools = list(&asked["tools"]).into_iter().flatten();
    must.tools = Some(tools.map(described).collect());
}

/// A tool with its schema; one that runs at the provider's has a type and no more.
fn described(t: &Value) -> Value {
    match t.get("type").filter(|kind| **kind != "custom") {
        Some(kind) => tool(kind, &json!({"name": t["name"]})),
        None => {
            let schema = first(t, &["/input_schema"]);
            let rest =
                json!({"name": t["name"], "description": t["description"], "parameters": schema});
            tool(&json!("function"), &rest)
        }
    }
}

fn block(b: &Value) -> Option<Value> {
    match b["type"].as_str()? {
        "text" => Some(text(&b["text"])),
        "thinking" => Some(json!({"type": "reasoning", "content": b["thinking"]})),
        "tool_use" => Some(tool_call(&b["id"], &b["name"], &b["input"])),
        "tool_result" => Some(answered(&b["tool_use_id"], &b["content"])),
        _ => None,
    }
}

/// Demands what Google's contents ask.
pub(super) fn google(must: &mut Must, asked: &Value) {
    let said_by = |c: &Value| {
        let role = match c["role"].as_str() {
            Some("model") => "assistant",
            Some(role) => role,
            None => "user",
        };
        let parts = list(&c["parts"]).into_iter().flatten();
        said(role, parts.filter_map(google_part).collect())
    };
    must.input = list(&asked["contents"]).map(|all| all.iter().map(said_by).collect());
    let system = first(asked, &["/systemInstruction", "/system_instruction"]);
    let system = system.and_then(|s| list(&s["parts"])).into_iter().flatten();
    must.system = Some(system.filter_map(google_part).collect());
    let tools = list(&asked["tools"]).into_iter().flatten();
    let functions = tools.filter_map(|t| {
        list(first(
            t,
            &["/functionDeclarations", "/function_declarations"],
        )?)
    });
    let functions = functions.flatten().map(|f| {
        let schema = first(
            f,
            &[
                "/parameters",
                "/parametersJsonSchema",
                "/parameters_json_schema",
            ],
        );
        let rest =
            json!({"name": f["name"], "description": f["description"], "parameters": schema});
        tool(&json!("function"), &rest)
    });
    must.tools = Some(functions.collect());
}

fn google_part(p: &Value) -> Option<Value> {
    if let Some(call) = first(p, &["/functionCall", "/function_call"]) {
        return Some(tool_call(&call["id"], &call["name"], &call["args"]));
    }
    if let Some(answer) = first(p, &["/functionResponse", "/function_response"]) {
        return Some(answered(&answer["id"], &answer["response"]));
    }
    let said = p.get("text")?;
    if p["thought"] == true {
        return Some(json!({"type": "reasoning", "content": said}));
    }
    Some(text(said))
}

/// Demands what Bedrock's converse asks, and Nova's invocations, which are like it.
pub(super) fn converse(must: &mut Must, asked: &Value) {
    let said_by = |m: &Value| {
        let blocks = list(&m["content"]).into_iter().flatten();
        let parts = blocks.filter_map(|b| {
            if let Some(used) = b.get("toolUse") {
                return Some(tool_call(&used["toolUseId"], &used["name"], &used["input"]));
            }
            if let Some(result) = b.get("toolResult") {
                // One thing is what it is; several are a list.
                let content = match list(&result["content"]).map(Vec::as_slice) {
                    Some([one]) => first(one, &["/json", "/text"]).unwrap_or(&result["content"]),
                    _ => &result["content"],
                };
                return Some(answered(&result["toolUseId"], content));
            }
            first(b, &["/text", "/guardContent/text/text"]).map(text)
        });
        said(m["role"].as_str().unwrap_or_default(), parts.collect())
    };
    must.input = list(&asked["messages"]).map(|all| all.iter().map(said_by).collect());
    must.system = Some(texts(&asked["system"]));
    let tools = asked.pointer("/toolConfig/tools").and_then(list);
    let tools = tools
        .into_iter()
        .flatten()
        .filter_map(|t| t.get("toolSpec"));
    let tools = tools.map(|t| {
        let schema = t.pointer("/inputSchema/json");
        let rest =
            json!({"name": t["name"], "description": t["description"], "parameters": schema});
        tool(&json!("function"), &rest)
    });
    must.tools = Some(tools.collect());
}

/// A text, or the texts of items.
fn texts(content: &Value) -> Vec<Value> {
    match content {
        one @ Value::String(_) => vec![text(one)],
        several => {
            let items = list(several).into_iter().flatten();
            items.filter_map(|i| i.get("text")).map(text).collect()
        }
    }
}

fn list(value: &Value) -> Option<&Vec<Value>> {
    value.as_array()
}

fn said(role: &str, parts: Vec<Value>) -> Value {
    let mut message = json!({"role": role});
    message["parts"] = Value::Array(parts);
    message
}

fn answered(id: &Value, answer: &Value) -> Value {
    json!({"type": "tool_call_response", "id": id, "response": answer})
}

fn tool(kind: &Value, t: &Value) -> Value {
    let schema = &t["parameters"];
    json!({"type": kind, "name": t["name"], "description": t["description"], "parameters": schema})
}

//! What a plan of a task other than MLQA's retrieval says where it is silent.

use toml::{Table, Value};

use super::POOL;
use crate::mlqa::Language;

/// The plan with its task's own values filled in; `None` for a task that has none.
pub(super) fn of_task(plan: &Table) -> Option<Table> {
    let task = plan.get("task")?.as_str()?;
    let texts = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
    let mut filled = plan.clone();
    let mut fill = |key: &str, value: &dyn Fn(&Table) -> Value| {
        if !filled.contains_key(key) {
            let value = value(&filled);
            filled.insert(key.to_owned(), value);
        }
    };
    match task {
        "beir" => fill("pairs", &|_| texts(vec![POOL.to_owned()])),
        "mlqa-r" | "xquad-r" => {
            // MLQA's seven are in both.
            let seven = Language::MLQA.map(|language| language.code().to_owned());
            fill("pool", &|_| texts(seven.to_vec()));
            fill("pairs", &|plan| {
                let pool = plan["pool"].as_array();
                let codes = pool.into_iter().flatten().filter_map(Value::as_str);
                texts(codes.map(|code| format!("{POOL}-{code}")).collect())
            });
        }
        _ => return None,
    }
    fill("noise", &|_| Value::String("none".to_owned()));
    if filled.get("noise").and_then(Value::as_str) == Some("none") {
        for key in ["levels", "seeds"] {
            if !filled.contains_key(key) {
                filled.insert(key.to_owned(), Value::Array(vec![Value::Integer(0)]));
            }
        }
    }
    Some(filled)
}

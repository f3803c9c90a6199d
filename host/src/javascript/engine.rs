//! QuickJS. Each script has an engine of its own, so none sees what another left behind. A script has no access to files,
//! processes or the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Runtime};

use super::{Failure, Script};

/// What the script made, a text of JSON; None for undefined.
pub(super) fn evaluate(script: &Script) -> Result<Option<String>, Failure> {
    let limits = script.limits;
    let runtime = Runtime::new().map_err(|error| Failure::Unavailable(error.to_string()))?;
    runtime.set_memory_limit(limits.memory_bytes);
    runtime.set_max_stack_size(limits.stack_bytes);
    let overdue = Arc::new(AtomicBool::new(false));
    let deadline = Instant::now() + limits.time;
    let flag = Arc::clone(&overdue);
    runtime.set_interrupt_handler(Some(Box::new(move || {
        let late = Instant::now() >= deadline;
        if late {
            flag.store(true, Ordering::Relaxed);
        }
        late
    })));
    let outcome = match Context::full(&runtime) {
        Ok(context) => context.with(|ctx| in_context(&ctx, script)),
        Err(error) => Err(error.to_string()),
    };
    outcome.map_err(|message| {
        if overdue.load(Ordering::Relaxed) {
            Failure::TooSlow
        } else if message.contains("out of memory") || message.contains("Allocation failed") {
            Failure::TooLarge
        } else {
            Failure::Failed(message)
        }
    })
}

fn in_context(ctx: &Ctx<'_>, script: &Script) -> Result<Option<String>, String> {
    for (name, value) in &script.globals {
        let declared = ctx
            .json_parse(value.as_str())
            .and_then(|value| ctx.globals().set(name.as_str(), value));
        declared.catch(ctx).map_err(|error| sentence(&error))?;
    }
    let result: rquickjs::Value = ctx
        .eval(script.source.as_str())
        .catch(ctx)
        .map_err(|error| sentence(&error))?;
    // JSON.stringify(undefined) is undefined.
    let text = result.as_string().map(|text| text.to_string());
    text.transpose().map_err(|error| error.to_string())
}

fn sentence(error: &CaughtError<'_>) -> String {
    match error {
        CaughtError::Exception(exception) => {
            let message = exception.message().unwrap_or_default();
            match exception.as_object().get::<_, String>("name") {
                Ok(name) if !message.is_empty() => format!("{name}: {message}"),
                Ok(name) => name,
                Err(_) => message,
            }
        }
        CaughtError::Value(value) => match value.as_string().map(|text| text.to_string()) {
            Some(Ok(text)) => text,
            _ => "it threw a value that is not an error".to_owned(),
        },
        CaughtError::Error(error) => error.to_string(),
    }
}

//! Log lines: JSON in production, text for people in development.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::Env;
use crate::trace::TraceConfig;

/// How to log.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Directives such as `info,dispatcher=debug`.
    pub filter: String,
    /// The shape of a line.
    pub format: LogFormat,
    /// Whom to tell of traces.
    pub traces: TraceConfig,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For reading in a terminal.
    Text,
}

impl TelemetryConfig {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        Self {
            filter: env.read_with(
                "POSTRIDER_LOG",
                "info",
                "What is logged: a level, or directives such as `info,dispatcher=debug`.",
                |text| {
                    EnvFilter::try_new(text)
                        .map(|_| text.to_owned())
                        .map_err(|error| format!("not a log filter: {error}"))
                },
            ),
            format: env.read_with(
                "POSTRIDER_LOG_FORMAT",
                "json",
                "Shape of a log line: `json` or `text`.",
                |text| match text {
                    "json" => Ok(LogFormat::Json),
                    "text" => Ok(LogFormat::Text),
                    _ => Err("expected json or text".into()),
                },
            ),
            traces: TraceConfig::read(env),
        }
    }
}

/// Logs to standard error from here on. A second call in one process does nothing.
pub fn init(config: &TelemetryConfig) {
    let filter = EnvFilter::new(&config.filter);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours in a file are only in the way.
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match config.format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => lines.with_target(true).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logging was installed before");
    }
}

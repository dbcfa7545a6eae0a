//! The flags of every daemon that have to do with traces.

use clap::Args;
use reqwest::Url;

/// Of requests that come without a trace.
pub const DEFAULT_RATIO: f64 = 0.01;

#[derive(Args, Clone, Debug, Default)]
pub struct TraceArguments {
    /// OpenTelemetry collector that spans are sent to, by OTLP over HTTP: http://HOST:4318, or with https if this part was
    /// told whom to believe. Without it nothing is traced.
    #[arg(long, env = "VARVE_OTLP_ENDPOINT", value_name = "URL", value_parser = |text: &str| said(text, parse_endpoint))]
    otlp_endpoint: Option<Said<Url>>,
    /// Share, from 0 to 1, of what begins without a trace that is traced. What comes with one is traced if that says so. Default:
    /// 0.01.
    #[arg(long, env = "VARVE_TRACE_RATIO", value_name = "RATIO", value_parser = |text: &str| said(text, parse_ratio))]
    trace_ratio: Option<Said<f64>>,
}

/// What a flag or a variable of the environment says. An empty one says nothing: Compose and systemd pass those on.
#[derive(Clone, Debug, PartialEq)]
struct Said<T>(Option<T>);

fn said<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Said<T>, String> {
    if text.is_empty() { Ok(Said(None)) } else { parse(text).map(|value| Said(Some(value))) }
}

impl TraceArguments {
    pub fn endpoint(&self) -> Option<&Url> {
        self.otlp_endpoint.as_ref()?.0.as_ref()
    }

    pub fn ratio(&self) -> f64 {
        self.trace_ratio.as_ref().and_then(|said| said.0).unwrap_or(DEFAULT_RATIO)
    }
}

/// The address of a collector. Spans go to `v1/traces` below it, as OTLP wants it.
pub fn parse_endpoint(text: &str) -> Result<Url, String> {
    let expected = "expected the address of an OpenTelemetry collector for OTLP over HTTP, such as http://127.0.0.1:4318";
    let url = Url::parse(text).map_err(|error| format!("{error}: {expected}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        let place = "a header such as Authorization goes into OTEL_EXPORTER_OTLP_HEADERS";
        return Err(format!("a name or password in the address would stand in logs: {place}"));
    }
    match url.scheme() {
        _ if url.query().is_some() || url.fragment().is_some() => Err(expected.to_owned()),
        "http" | "https" => Ok(url),
        other => Err(format!("{other} is not http or https: {expected}")),
    }
}

/// From 0 to 1.
pub fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| format!("{text:?} is not a number such as 0.01"))?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(format!("{text} is not from 0 to 1")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_of_http() {
        assert_eq!(parse_endpoint("http://127.0.0.1:4318").unwrap().port(), Some(4318));
        assert!(parse_endpoint("https://collector.example.org/otlp").is_ok());
        for bad in ["127.0.0.1:4318", "collector:4317", "grpc://collector:4317", "http://", "http://a?b", ""]
        {
            let why = parse_endpoint(bad).unwrap_err();
            assert!(why.contains("http://127.0.0.1:4318"), "{bad}: {why}");
        }
        let why = parse_endpoint("https://user:secret@collector:4318").unwrap_err();
        assert!(why.contains("OTEL_EXPORTER_OTLP_HEADERS") && !why.contains("secret"), "{why}");
    }

    #[test]
    fn what_is_empty_says_nothing() {
        #[derive(clap::Parser)]
        struct Daemon {
            #[command(flatten)]
            traces: TraceArguments,
        }
        let parse = |words: [&str; 3]| <Daemon as clap::Parser>::try_parse_from(words).unwrap().traces;
        let empty = parse(["daemon", "--otlp-endpoint=", "--trace-ratio="]);
        assert_eq!((empty.endpoint(), empty.ratio()), (None, DEFAULT_RATIO));
        let given = parse(["daemon", "--otlp-endpoint=http://127.0.0.1:4318", "--trace-ratio=0.5"]);
        assert_eq!((given.endpoint().and_then(Url::port), given.ratio()), (Some(4318), 0.5));
    }

    #[test]
    fn a_ratio_is_a_share() {
        assert_eq!((parse_ratio("0"), parse_ratio("1"), parse_ratio("0.25")), (Ok(0.0), Ok(1.0), Ok(0.25)));
        for bad in ["-0.1", "1.1", "NaN", "inf", "1%", ""] {
            assert!(parse_ratio(bad).is_err(), "{bad}");
        }
    }
}

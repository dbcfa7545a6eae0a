//! [`TraceParent`]: which trace a request belongs to.

use std::fmt;
use std::str::FromStr;

/// Where in which trace a request was made, as W3C's Trace Context has it. Text form is that of the header `traceparent`:
///
/// ```text
/// 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
/// version │ trace id │ id of the span that asks │ flags, of which 01 says that the trace is recorded
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// Whether who asks records the trace, and others should.
    pub is_sampled: bool,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no trace context: expected 00-TRACE-SPAN-FLAGS, of 32, 16 and 2 hexadecimal digits that are not all zero"
)]
pub struct ParseTraceParentError(String);

impl TraceParent {
    /// Bytes of the form that page requests carry.
    pub const SIZE: usize = 25;

    /// None if an id is invalid, which all zeros are.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], is_sampled: bool) -> Option<TraceParent> {
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(TraceParent { trace_id, span_id, is_sampled })
    }

    /// Trace id, span id, flags.
    pub fn to_bytes(self) -> [u8; TraceParent::SIZE] {
        let mut bytes = [0; TraceParent::SIZE];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = u8::from(self.is_sampled);
        bytes
    }

    /// None if an id is invalid.
    pub fn from_bytes(bytes: [u8; TraceParent::SIZE]) -> Option<TraceParent> {
        let (trace_id, rest) = bytes.split_first_chunk()?;
        let (span_id, flags) = rest.split_first_chunk()?;
        TraceParent::new(*trace_id, *span_id, flags[0] & 1 != 0)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (hex::encode(self.trace_id), hex::encode(self.span_id));
        write!(f, "00-{trace}-{span}-{:02x}", u8::from(self.is_sampled))
    }
}

impl FromStr for TraceParent {
    type Err = ParseTraceParentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseTraceParentError(text.chars().take(80).collect()))
    }
}

/// Of a later version the beginning is understood, as the recommendation wants it.
fn parse(text: &str) -> Option<TraceParent> {
    let mut fields = text.split('-');
    let version = digits::<1>(fields.next()?)?[0];
    let (trace_id, span_id) = (digits(fields.next()?)?, digits(fields.next()?)?);
    let flags = digits::<1>(fields.next()?)?[0];
    let fits = match version {
        0 => fields.next().is_none(),
        0xff => false,
        _ => true,
    };
    TraceParent::new(trace_id, span_id, flags & 1 != 0).filter(|_| fits)
}

/// In lower case: upper case is forbidden.
fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (is_lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn both_forms_round_trip() {
        let parent: TraceParent = TEXT.parse().unwrap();
        assert!(parent.is_sampled);
        assert_eq!((parent.trace_id[0], parent.span_id[7]), (0x4b, 0xb7));
        assert_eq!(parent.to_string(), TEXT);
        assert_eq!(TraceParent::from_bytes(parent.to_bytes()), Some(parent));
        let silent = TraceParent { is_sampled: false, ..parent };
        assert!(silent.to_string().ends_with("-00"));
        assert_eq!(silent.to_string().parse(), Ok(silent));
        assert_eq!(TraceParent::from_bytes(silent.to_bytes()), Some(silent));
        assert_eq!(TraceParent::from_bytes([0; TraceParent::SIZE]), None);
    }

    #[test]
    fn what_is_none_is_refused() {
        let (zeros, other) = ("0".repeat(32), "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in [
            String::new(),
            TEXT.to_uppercase(),
            format!("{TEXT}-00"),
            TEXT.replacen("00", "ff", 1),
            TEXT.replace(other, &zeros),
            TEXT.replace("00f067aa0ba902b7", "0000000000000000"),
            TEXT.replace("-01", ""),
            TEXT.replace("-01", "-1"),
            format!(" {TEXT}"),
        ] {
            assert!(bad.parse::<TraceParent>().is_err(), "{bad}");
        }
        // What a later version adds.
        let later = TEXT.replacen("00", "01", 1) + "-more";
        assert_eq!(later.parse::<TraceParent>(), TEXT.parse());
        // Flags that nobody knows yet.
        assert!(TEXT.replace("-01", "-03").parse::<TraceParent>().unwrap().is_sampled);
        assert!(!TEXT.replace("-01", "-02").parse::<TraceParent>().unwrap().is_sampled);
    }
}

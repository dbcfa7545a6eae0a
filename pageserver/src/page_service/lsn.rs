//! Which LSN a request reads at. Pure.

use types::Lsn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadAt {
    Now(Lsn),
    /// When WAL up to it has come, and then at it.
    After(Lsn),
}

/// The client vouches that the page does not change from `not_modified_since` to `request_lsn`. So any moment in
/// between will do; the newest that is at hand is best, since nothing older needs to be looked for.
pub(super) fn read_at(
    request_lsn: Lsn,
    not_modified_since: Lsn,
    last_record_lsn: Lsn,
) -> Result<ReadAt, String> {
    if !request_lsn.is_valid() {
        return Err("a request needs an LSN to read at".to_owned());
    }
    if request_lsn < not_modified_since {
        return Err(format!(
            "request LSN {request_lsn} is before its not_modified_since {not_modified_since}"
        ));
    }
    Ok(if not_modified_since > last_record_lsn {
        ReadAt::After(not_modified_since)
    } else {
        ReadAt::Now(request_lsn.min(last_record_lsn))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_only_for_what_they_need() {
        let last = Lsn(100);
        assert_eq!(read_at(Lsn::MAX, Lsn(50), last), Ok(ReadAt::Now(last)), "the latest");
        assert_eq!(read_at(Lsn(70), Lsn(70), last), Ok(ReadAt::Now(Lsn(70))), "a moment of the past");
        assert_eq!(read_at(Lsn(130), Lsn(50), last), Ok(ReadAt::Now(last)), "ahead, but not changed since");
        assert_eq!(read_at(Lsn::MAX, Lsn(120), last), Ok(ReadAt::After(Lsn(120))));
        assert!(read_at(Lsn(0), Lsn(0), last).is_err());
        assert!(read_at(Lsn(70), Lsn(71), last).is_err());
    }
}

//! A block at an LSN, as people write it.

use std::str::FromStr;

use types::{Fork, Key, Lsn, RelTag};

/// `TABLESPACE/DATABASE/FILE/BLOCK`, numbers as in PostgreSQL's file names, FILE with `_fsm` or `_vm` if it is no main
/// fork; or the 36 digits of any key. With `@LSN`, or at the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockAt {
    pub key: Key,
    pub lsn: Option<Lsn>,
}

fn block(text: &str) -> Option<Key> {
    let mut parts = text.split('/');
    let (spc, db) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let file = parts.next()?;
    let block = parts.next()?.parse().ok()?;
    if parts.next().is_some() {
        return None;
    }
    let fork = Fork::ALL.into_iter().find(|fork| *fork != Fork::Main && file.ends_with(fork.file_suffix()));
    let fork = fork.unwrap_or(Fork::Main);
    let rel = file.strip_suffix(fork.file_suffix())?.parse().ok()?;
    Some(Key::rel_block(RelTag { spc, db, rel, fork }, block))
}

impl FromStr for BlockAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, lsn) = match text.split_once('@') {
            Some((what, lsn)) => (what, Some(lsn.parse::<Lsn>().map_err(|error| error.to_string())?)),
            None => (text, None),
        };
        let key = block(what).or_else(|| what.parse().ok());
        let key = key.ok_or("write 1663/5/16384/0@0/1A2B3C8: tablespace, database, file, block and LSN")?;
        Ok(Self { key, lsn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_named_as_postgres_names_files() {
        let key = |fork, block| Key::rel_block(RelTag { spc: 1663, db: 5, rel: 16384, fork }, block);
        let main: BlockAt = "1663/5/16384/7@0/1A2B3C8".parse().unwrap();
        assert_eq!(main, BlockAt { key: key(Fork::Main, 7), lsn: Some(Lsn(0x1A2_B3C8)) });
        let map: BlockAt = "1663/5/16384_vm/0".parse().unwrap();
        assert_eq!(map, BlockAt { key: key(Fork::Vm, 0), lsn: None });
        let digits: BlockAt = key(Fork::Fsm, 1).to_string().parse().unwrap();
        assert_eq!(digits, BlockAt { key: key(Fork::Fsm, 1), lsn: None });
        for bad in ["", "1663/5/16384", "1663/5/16384/7/8", "1663/5/16384_x/7", "a/b/c/d", "1663/5/16384/7@x"]
        {
            assert!(bad.parse::<BlockAt>().is_err(), "{bad}");
        }
    }
}

//! `man`: manual pages, made of the definition of the command line itself. Packages have them; nobody else needs them.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;

use crate::arguments::Arguments;

pub fn write_pages(directory: &Path) -> anyhow::Result<()> {
    clap_mangen::generate_to(Arguments::command(), directory)
        .with_context(|| format!("cannot write manual pages to {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_shown_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        write_pages(directory.path()).unwrap();
        let page = |name: &str| std::fs::read_to_string(directory.path().join(name));
        for name in ["varve.1", "varve-up.1", "varve-timeline-branch.1", "varve-container-compute.1"] {
            let text = page(name).unwrap();
            assert!(text.contains(".SH NAME") && !text.contains('\x1b'), "{name}: {text}");
        }
        assert!(page("varve-timeline.1").unwrap().contains("varve timeline branch"), "examples are in it");
        assert!(page("varve-man.1").is_err());
        assert!(write_pages(Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere"));
    }
}

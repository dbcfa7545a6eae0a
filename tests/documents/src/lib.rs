//! What the documents say is tried: every command is run, every setting, link, file and message is looked up.
//! docs/README.md tells how a block is marked. Nothing here knows what the documents are about.
#![cfg(test)]

mod blocks;
mod library;
mod links;
mod markdown;
mod metrics;
mod names;
mod programs;
mod transcript;

/// Named so that `make test T=documents` finds them. Each document has a cluster of its own.
mod documents {
    use crate::{blocks, library, links, metrics, names, programs};

    macro_rules! commands_of {
        ($($test:ident: $path:literal,)+) => {
            const RUN: &[&str] = &[$($path),+];
            $(
                #[test]
                fn $test() {
                    blocks::run_all($path);
                }
            )+
        };
    }

    commands_of! {
        commands_of_the_readme: "README.md",
        commands_of_the_quick_start: "docs/quick-start.md",
        commands_of_the_concepts: "docs/concepts.md",
        commands_of_the_processes: "docs/processes.md",
        commands_of_the_configuration: "docs/configuration.md",
        commands_of_the_troubleshooting: "docs/troubleshooting.md",
        commands_of_the_questions: "docs/faq.md",
        commands_of_the_runbook: "docs/runbook.md",
        commands_of_the_security: "docs/security.md",
        commands_of_self_hosting: "docs/self-hosting.md",
        commands_of_traces: "docs/traces.md",
    }

    #[test]
    fn every_block_is_run_or_says_why_not() {
        for path in library::with_commands() {
            let problems = blocks::problems(&path);
            assert!(problems.is_empty(), "{}", problems.join("\n"));
            let runs = library::blocks(&path).iter().any(|block| block.is_run());
            assert_eq!(runs, RUN.contains(&path.as_str()), "{path}: a list in lib.rs has what is run");
        }
    }

    #[test]
    fn messages_are_those_of_the_sources() {
        let checked: usize = library::with_commands().iter().map(|path| blocks::check_messages(path)).sum();
        assert!(checked > 0, "no message was found");
    }

    #[test]
    fn links_and_files_exist() {
        links::check_all();
    }

    #[test]
    fn tests_that_are_named_exist() {
        names::check_all();
    }

    #[test]
    fn the_metrics_are_those_of_a_live_cluster() {
        metrics::check("documents-metrics");
    }

    #[test]
    fn the_configuration_has_every_setting() {
        programs::check_extension("documents-settings");
        programs::check_flags();
        programs::check_keys();
        programs::check_compose_variables();
    }
}

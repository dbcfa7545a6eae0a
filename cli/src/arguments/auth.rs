//! `varve auth …`

use auth::Scope;
use clap::Subcommand;
use clap::builder::StyledStr;
use pageserver_api::history::Interval;
use types::TenantId;

use super::help::examples;

#[derive(Subcommand)]
pub enum AuthCommand {
    /// Print a token for somebody outside: a monitoring system, a script, another operator.
    #[command(after_help = token_examples())]
    Token {
        /// What it opens: admin, tenant, pageserver, safekeeper, broker or monitor. May be given several times.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
        /// With --scope tenant: whose it is.
        #[arg(long)]
        tenant_id: Option<TenantId>,
        /// How long it is good, such as 12h. Default: until keys are rotated.
        #[arg(long, value_name = "TIME")]
        valid_for: Option<Interval>,
        /// Whom it is for. It stands in the token.
        #[arg(long, default_value = "varve auth token")]
        subject: String,
    },
    /// Sign with a new key from now on, replace the tokens of all parts, and refuse all that were signed before.
    ///
    /// Nothing is restarted. Tokens that `varve auth token` printed have to be printed again.
    Rotate,
    /// Make a certificate for endpoints, or another one in its place; and others for the parts, if they speak TLS.
    ///
    /// Whoever has one takes the new one on while they run; endpoints that had none need a restart. Clients that believe the
    /// cluster's authority (tls/ca.pem) need nothing new. A certificate of your own stays as it is: move it away first.
    Certificate {
        /// A name or an address under which clients reach endpoints, or with --host a further one of that host. May be given
        /// several times; this machine's own are always among them. Those of before are replaced; without any they stay.
        #[arg(long, value_name = "NAME")]
        tls_name: Vec<String>,
        /// Those of the parts alone.
        #[arg(long, conflicts_with_all = ["tls_name", "host"])]
        parts: bool,
        /// That of the parts on this host alone, also of one that is to come. For parts that have hosts of their own.
        #[arg(long)]
        host: Option<String>,
    },
}

fn token_examples() -> StyledStr {
    examples(&[
        ("varve auth token --scope monitor", "for Prometheus"),
        ("varve auth token --scope admin --valid-for 1h", "for an hour of work with the HTTP APIs"),
    ])
}

pub fn group_examples() -> StyledStr {
    examples(&[
        ("varve auth token --scope monitor", "for Prometheus"),
        ("varve auth rotate", "if a token may have got into wrong hands"),
    ])
}

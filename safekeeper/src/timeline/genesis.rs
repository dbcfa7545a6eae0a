//! Whether a timeline may begin here with nothing. It may if it is new everywhere. Where others have been written to, this
//! safekeeper was one of them and has lost its disk: empty, it would vote and count towards quorums as if it had never
//! promised anything, and a quorum with it need not know what is committed. So the other members are asked first.
//!
//! Who has no such timeline says so, and that is fine: members make a new one at the same moment. **Who does not answer at
//! all says nothing, and holds nobody up**: to be refused because somebody is away would be one more thing that fails
//! while one of three is away, and `varve` makes a timeline with all of them there. So this keeps an administrator from a
//! mistake as long as one of the others can be reached. It proves nothing where none can be.

use std::time::Duration;

use auth::Credentials;
use consensus::MembershipGeneration;
use types::{NodeId, Term};

use super::create::{CreateError, TimelineSpec};
use super::joining::ask_each;

/// All are asked at once. One that is there needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the other members, if it is to begin with nothing.
pub async fn check(
    spec: &TimelineSpec,
    node_id: NodeId,
    credentials: &Credentials,
) -> Result<(), CreateError> {
    let others = spec.configuration.all_members().into_iter().filter(|member| member.id != node_id);
    let whom = others.map(|member| (member.id, member.http_connstr.clone()));
    let mut asked = ask_each(spec.identity.ttid, whom, credentials, PATIENCE);
    while let Some(answer) = asked.join_next().await {
        let Ok(Some((other, status))) = answer else { continue };
        let (term, generation) = (status.term, status.configuration.generation);
        if term > Term::default() || generation > MembershipGeneration::FIRST {
            return Err(CreateError::NotNew { other, term, generation, node_id });
        }
    }
    Ok(())
}

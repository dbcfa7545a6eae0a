//! The acceptor's part in membership changes: its half of the register, and what it takes on as decided.

use types::Term;

use super::{Acceptor, Durability, Effect, Refusal, RequestId};
use crate::change::{MemberPosition, MembershipAnswer, MembershipRequest};
use crate::membership::Configuration;
use crate::register::{Outbid, Slot};

impl Acceptor {
    pub(super) fn membership_request(
        &mut self,
        from: RequestId,
        request: MembershipRequest,
        effects: &mut Vec<Effect>,
    ) {
        let ours = self.state.configuration.generation;
        let (answer, is_changed) = match request {
            MembershipRequest::Adopt { configuration, term } => match self.adopt_decided(configuration, term)
            {
                Ok(is_changed) => (self.member_position(), is_changed),
                Err(refusal) => (MembershipAnswer::Refused { reason: refusal.to_string() }, false),
            },
            // Who asks about another register is shown where this acceptor is.
            MembershipRequest::Promise { generation, .. } | MembershipRequest::Accept { generation, .. }
                if generation != ours =>
            {
                (self.member_position(), false)
            }
            MembershipRequest::Promise { ballot, .. } => {
                match self.state.next_configuration.promise(ballot) {
                    Ok(accepted) => (MembershipAnswer::Promised { generation: ours, ballot, accepted }, true),
                    Err(Outbid(promised)) => (MembershipAnswer::Outbid { generation: ours, promised }, false),
                }
            }
            MembershipRequest::Accept { ballot, configuration, .. } => {
                match configuration.check_follows(&self.state.configuration) {
                    Err(error) => (MembershipAnswer::Refused { reason: error.to_string() }, false),
                    Ok(()) => match self.state.next_configuration.accept(ballot, configuration) {
                        Ok(()) => (MembershipAnswer::Accepted { generation: ours, ballot }, true),
                        Err(Outbid(promised)) => {
                            (MembershipAnswer::Outbid { generation: ours, promised }, false)
                        }
                    },
                }
            }
        };
        if is_changed {
            effects.push(Effect::PersistState(Box::new(self.state.clone())));
        }
        effects.push(Effect::Answer { to: from, answer, after: Durability::StatePersisted });
    }

    /// Also by one that is no member of it: it is told so, and takes part no more. The term is that of who is in this
    /// configuration, so it means nothing in a newer one.
    fn adopt_decided(&mut self, configuration: Configuration, term: Term) -> Result<bool, Refusal> {
        let theirs = configuration.generation;
        let is_newer = theirs > self.state.configuration.generation;
        if is_newer {
            configuration.validate().map_err(Refusal::BadConfiguration)?;
            self.adopt(configuration);
        }
        let enters = theirs == self.state.configuration.generation && term > self.state.term;
        if enters {
            self.follow(term);
        }
        Ok(is_newer || enters)
    }

    /// The caller persists it.
    pub(super) fn adopt(&mut self, configuration: Configuration) {
        // Newcomers lack WAL that all others have.
        if configuration.all_members().iter().any(|member| !self.state.configuration.contains(member.id)) {
            self.state.horizon_lsn = self.state.timeline_start_lsn;
        }
        self.state.configuration = configuration;
        // The register that decided it has done its work; the next one is empty.
        self.state.next_configuration = Slot::default();
        // Asked for in the old one. Who still wants them greets again.
        self.votes_due.clear();
    }

    fn member_position(&self) -> MembershipAnswer {
        MembershipAnswer::Position {
            configuration: self.state.configuration.clone(),
            position: MemberPosition {
                term: self.state.term,
                last_log_term: self.last_log_term(),
                flush_lsn: self.flush_lsn,
                commit_lsn: self.state.commit_lsn,
            },
        }
    }
}

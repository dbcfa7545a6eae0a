//! Who is logged in. The link that is printed holds a *ticket*; it lets one browser in, and another one takes its place.
//! A *session* is a cookie that only the browser and this process know, with a token that its forms must show.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A browser that has not asked for so long has to log in again.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// The one that was silent longest has to go for another.
const MOST: usize = 64;

pub struct Sessions {
    /// Cookies do not know of ports: two consoles of one machine must not take each other's.
    cookie: String,
    state: Mutex<State>,
}

struct State {
    ticket: String,
    open: HashMap<String, Session>,
}

struct Session {
    csrf: String,
    notices: Vec<Notice>,
    used: Instant,
}

/// What the next page says first: what was done, or why it was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub good: bool,
    pub text: String,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub session: String,
    /// What a form of this visitor's must show.
    pub csrf: String,
}

impl Sessions {
    pub fn new(port: u16) -> Sessions {
        let state = State { ticket: secret(), open: HashMap::new() };
        Sessions { cookie: format!("varve_console_{port}"), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// The one that lets the next browser in.
    pub fn ticket(&self) -> String {
        self.state().ticket.clone()
    }

    /// A value for `Set-Cookie`, if that was the ticket.
    pub fn log_in(&self, ticket: &str) -> Option<String> {
        let mut state = self.state();
        if !same(&state.ticket, ticket) {
            return None;
        }
        state.ticket = secret();
        state.open.retain(|_, session| session.used.elapsed() < IDLE);
        while state.open.len() >= MOST {
            let oldest = state.open.iter().min_by_key(|(_, session)| session.used);
            let oldest = oldest.map(|(id, _)| id.clone()).unwrap_or_default();
            state.open.remove(&oldest);
        }
        let (id, csrf) = (secret(), secret());
        state.open.insert(id.clone(), Session { csrf, notices: Vec::new(), used: Instant::now() });
        Some(format!("{}={id}; Path=/; HttpOnly; SameSite=Strict", self.cookie))
    }

    /// A value for `Set-Cookie`.
    pub fn log_out(&self, visitor: &Visitor) -> String {
        self.state().open.remove(&visitor.session);
        format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", self.cookie)
    }

    /// Who sends this `Cookie` header.
    pub fn visitor(&self, cookies: &str) -> Option<Visitor> {
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        let mut state = self.state();
        // A page on another port of this host may have set one of the same name.
        pairs.find_map(|(name, id)| {
            let session = state.open.get_mut(id).filter(|session| session.used.elapsed() < IDLE)?;
            (name == self.cookie).then(|| {
                session.used = Instant::now();
                Visitor { session: id.to_owned(), csrf: session.csrf.clone() }
            })
        })
    }

    pub fn notify(&self, visitor: &Visitor, notice: Notice) {
        if let Some(session) = self.state().open.get_mut(&visitor.session) {
            session.notices.push(notice);
        }
    }

    /// They are said once.
    pub fn take_notices(&self, visitor: &Visitor) -> Vec<Notice> {
        let mut state = self.state();
        state
            .open
            .get_mut(&visitor.session)
            .map(|session| std::mem::take(&mut session.notices))
            .unwrap_or_default()
    }
}

fn secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// In a time that does not tell where they differ.
pub fn same(one: &str, other: &str) -> bool {
    let differ = one.bytes().zip(other.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(sessions: &Sessions, set_cookie: &str) -> Option<Visitor> {
        sessions.visitor(&format!("other=1; {}", set_cookie.split(';').next().unwrap()))
    }

    #[test]
    fn a_ticket_lets_one_browser_in() {
        let sessions = Sessions::new(7700);
        let ticket = sessions.ticket();
        assert!(sessions.log_in("").is_none() && sessions.log_in(&ticket[1..]).is_none());
        let cookie = sessions.log_in(&ticket).unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        assert!(sessions.log_in(&ticket).is_none(), "it was used");
        let first = visitor(&sessions, &cookie).unwrap();
        let second = visitor(&sessions, &sessions.log_in(&sessions.ticket()).unwrap()).unwrap();
        assert_ne!(first.csrf, second.csrf);
        sessions.log_out(&first);
        assert!(visitor(&sessions, &cookie).is_none());
    }

    #[test]
    fn another_consoles_cookie_opens_nothing() {
        let (ours, theirs) = (Sessions::new(7700), Sessions::new(7701));
        let cookie = theirs.log_in(&theirs.ticket()).unwrap();
        assert!(visitor(&theirs, &cookie).is_some() && visitor(&ours, &cookie).is_none());
        assert!(ours.visitor("varve_console_7700=").is_none());
        let mine = ours.log_in(&ours.ticket()).unwrap();
        let both = format!("varve_console_7700=invented; {}", mine.split(';').next().unwrap());
        assert!(ours.visitor(&both).is_some());
    }

    #[test]
    fn sessions_are_bounded_and_notices_are_said_once() {
        let sessions = Sessions::new(7700);
        let first = sessions.log_in(&sessions.ticket()).unwrap();
        let last = (0..MOST).map(|_| sessions.log_in(&sessions.ticket()).unwrap()).last().unwrap();
        assert!(visitor(&sessions, &first).is_none());
        let last = visitor(&sessions, &last).unwrap();
        let notice = Notice { good: true, text: "done".into() };
        sessions.notify(&last, notice.clone());
        assert_eq!(sessions.take_notices(&last), [notice]);
        assert!(sessions.take_notices(&last).is_empty());
    }
}

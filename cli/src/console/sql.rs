//! Statements through a look, and what they return, within bounds of rows, bytes and time.

use std::time::Duration;

use futures_util::TryStreamExt;
use tokio_postgres::error::{DbError, ErrorPosition};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::looks::Look;

const MOST_ROWS: usize = 500;
const MOST_BYTES: usize = 1 << 20;
/// Of one value; the rest of it is left out.
const MOST_OF_A_VALUE: usize = 2000;
/// A little more than what the server allows, which a statement can change.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one statement returned.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// None: it has no columns.
    pub columns: Vec<String>,
    /// None is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// As the server counts; none if it was not read to its end.
    pub count: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Answers {
    pub all: Vec<Answer>,
    /// Why there may be more than is shown.
    pub cut: Option<String>,
    /// Why the last statement has no answer.
    pub refusal: Option<Refusal>,
}

/// What PostgreSQL said.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub sqlstate: Option<String>,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// In characters of what was sent, from 1 on.
    pub position: Option<u32>,
}

impl Look {
    pub async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = Config::new();
        config.host_path(&self.socket).port(self.port).user(compute_api::SOCKET_USER).dbname(database);
        config.application_name("varve console").connect_timeout(Duration::from_secs(10));
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Databases that can be connected to.
    pub async fn databases(&self) -> Result<Vec<String>, tokio_postgres::Error> {
        let client = self.connect("postgres").await?;
        let names = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1";
        client.query(names, &[]).await?.iter().map(|row| row.try_get(0)).collect()
    }

    pub async fn run(&self, database: &str, statements: &str) -> Answers {
        let mut answers = Answers::default();
        let client = match self.connect(database).await {
            Ok(client) => client,
            Err(error) => return Answers { refusal: Some(refusal(&error)), ..answers },
        };
        let cancel = client.cancel_token();
        match tokio::time::timeout(PATIENCE, read(&client, statements, &mut answers)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => answers.refusal = Some(refusal(&error)),
            Err(_) => answers.cut = Some(format!("it took longer than {} s", PATIENCE.as_secs())),
        }
        if answers.cut.is_some() {
            // What it does not hear of ends with the connection.
            let _ = cancel.cancel_query(NoTls).await;
        }
        answers
    }
}

async fn read(client: &Client, statements: &str, answers: &mut Answers) -> Result<(), tokio_postgres::Error> {
    let mut messages = Box::pin(client.simple_query_raw(statements).await?);
    let (mut bytes, mut rows) = (0, 0);
    let mut current: Option<Answer> = None;
    while let Some(message) = messages.try_next().await? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                let columns = columns.iter().map(|column| column.name().to_owned()).collect();
                answers.all.extend(current.replace(Answer { columns, ..Answer::default() }));
            }
            SimpleQueryMessage::Row(row) => {
                if rows == MOST_ROWS || bytes > MOST_BYTES {
                    answers.all.extend(current);
                    answers.cut = Some(format!("{MOST_ROWS} rows or {} KiB are the most", MOST_BYTES >> 10));
                    return Ok(());
                }
                let row = values(&row)?;
                bytes += row.iter().flatten().map(String::len).sum::<usize>();
                rows += 1;
                current.get_or_insert_default().rows.push(row);
            }
            SimpleQueryMessage::CommandComplete(count) => {
                let answer = current.take().unwrap_or_default();
                answers.all.push(Answer { count: Some(count), ..answer });
            }
            // The enum may grow.
            _ => {}
        }
    }
    answers.all.extend(current);
    Ok(())
}

fn values(row: &SimpleQueryRow) -> Result<Vec<Option<String>>, tokio_postgres::Error> {
    (0..row.len()).map(|at| Ok(row.try_get(at)?.map(shortened))).collect()
}

fn shortened(value: &str) -> String {
    match value.char_indices().nth(MOST_OF_A_VALUE) {
        None => value.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &value[..end], value.len()),
    }
}

fn refusal(error: &tokio_postgres::Error) -> Refusal {
    match error.as_db_error() {
        Some(said) => of_server(said),
        None => {
            let cause =
                std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let message = format!("{error}{cause}");
            Refusal { sqlstate: None, message, detail: None, hint: None, position: None }
        }
    }
}

fn of_server(said: &DbError) -> Refusal {
    Refusal {
        sqlstate: Some(said.code().code().to_owned()),
        message: format!("{}: {}", said.severity(), said.message()),
        detail: said.detail().map(str::to_owned),
        hint: said.hint().map(str::to_owned),
        position: match said.position() {
            Some(ErrorPosition::Original(position)) => Some(*position),
            Some(ErrorPosition::Internal { .. }) | None => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_between_characters() {
        let short = "ä".repeat(MOST_OF_A_VALUE);
        assert_eq!(shortened(&short), short);
        let cut = shortened(&format!("{short}ö"));
        assert!(cut.starts_with(&short) && cut.ends_with("… (4002 bytes)"), "{}", &cut[cut.len() - 30..]);
    }
}

//! The `options` start-up parameter: `-c name=value`, as PostgreSQL's command line has it.

use std::collections::HashMap;

/// Splits at white space; a backslash takes the next character as it is (`pg_split_opts`).
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The settings named by `-c name=value`, `-cname=value` and `--name=value`. Other words are an error.
pub(crate) fn parse(text: &str) -> Result<HashMap<String, String>, String> {
    let mut settings = HashMap::new();
    let mut words = split_words(text).into_iter();
    while let Some(word) = words.next() {
        let (setting, long) = if let Some(rest) = word.strip_prefix("--") {
            (rest.to_owned(), true)
        } else if word == "-c" {
            (words.next().ok_or("-c without a setting")?, false)
        } else if let Some(rest) = word.strip_prefix("-c") {
            (rest.to_owned(), false)
        } else {
            return Err(format!("{word:?} is not an option: expected -c name=value"));
        };
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| format!("{setting:?} has no value: expected name=value"))?;
        let name = if long { name.replace('-', "_") } else { name.to_owned() };
        settings.insert(name, value.to_owned());
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_in_all_three_spellings() {
        let settings = parse(r"-c tenant_id=ab  -ctimeline_id=cd --work-mem=1 -c path=a\ b\\c").unwrap();
        let expected = [("tenant_id", "ab"), ("timeline_id", "cd"), ("work_mem", "1"), ("path", r"a b\c")];
        assert_eq!(settings.len(), expected.len());
        for (name, value) in expected {
            assert_eq!(settings[name], value);
        }
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for bad in ["-c", "tenant_id=ab", "-c tenant_id", "-d 5", "-"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

//! The list of stored workflows: whose, which, in what order, one page of them.

use super::StoredWorkflow;
use super::stored::{COLUMNS, JOINS, STEP_COUNT};
use crate::store::db::{Query, StoreError, Val, containing, like};

/// What a list can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    CreateTime,
    UpdateTime,
    Name,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// None for somebody who is not logged in: published ones only.
    pub user_id: Option<i64>,
    pub show_published: bool,
    pub show_shared: bool,
    pub show_hidden: bool,
    pub show_deleted: bool,
    pub sort_by: Option<SortBy>,
    pub sort_desc: bool,
    pub limit: Option<u32>,
    pub offset: u32,
    /// Words that must all occur in name, tags or owner; `name:`, `tag:`, `user:` and `is:` narrow one down.
    pub search: Option<String>,
    pub skip_step_counts: bool,
}

/// One page, and how many there are in all.
#[derive(Debug)]
pub struct Listed {
    pub workflows: Vec<StoredWorkflow>,
    pub total_matches: i64,
}

/// Lists stored workflows; without a sorting the user's own come first, then by name.
pub async fn list(q: &mut impl Query, query: &ListQuery) -> Result<Listed, StoreError> {
    let mut filter = Filter::default();
    filter.visible(query);
    filter.search(query);
    let condition = filter.conditions.join(" AND ");
    let sql = format!("SELECT COUNT(*) AS n FROM stored_workflow w {JOINS} WHERE {condition}");
    let counted = q.maybe(sql, filter.args.clone()).await?;
    let total_matches = counted.map(|row| row.get("n")).transpose()?.unwrap_or(0);

    let direction = if query.sort_desc { "DESC" } else { "ASC" };
    let order = match query.sort_by {
        Some(SortBy::CreateTime) => format!("w.create_time {direction}, w.id {direction}"),
        Some(SortBy::UpdateTime) => format!("w.update_time {direction}, w.id {direction}"),
        Some(SortBy::Name) => format!("w.name {direction}, w.id {direction}"),
        None => {
            let own = filter.add(Val::from(query.user_id));
            format!("(w.user_id = {own}) DESC, w.update_time DESC, w.id DESC")
        }
    };
    let limit = filter.add(Val::from(query.limit.map_or(i64::MAX, i64::from)));
    let offset = filter.add(Val::from(query.offset));
    let steps = if query.skip_step_counts {
        "NULL"
    } else {
        STEP_COUNT
    };
    let sql = format!(
        "SELECT {COLUMNS}, {steps} AS number_of_steps FROM stored_workflow w {JOINS} \
         WHERE {condition} ORDER BY {order} LIMIT {limit} OFFSET {offset}"
    );
    let rows = q.all(sql, filter.args).await?;
    let workflows = rows
        .iter()
        .map(StoredWorkflow::of)
        .collect::<Result<_, _>>()?;
    Ok(Listed {
        workflows,
        total_matches,
    })
}

#[derive(Default)]
struct Filter {
    conditions: Vec<String>,
    args: Vec<Val>,
}

impl Filter {
    fn add(&mut self, value: Val) -> String {
        self.args.push(value);
        format!("${}", self.args.len())
    }

    fn visible(&mut self, query: &ListQuery) {
        let user = self.add(Val::from(query.user_id));
        let mut sources = vec![format!(
            "SELECT id FROM stored_workflow WHERE user_id = {user}"
        )];
        if query.show_shared {
            sources.push(format!(
                "SELECT stored_workflow_id FROM stored_workflow_user_share WHERE user_id = {user}"
            ));
        }
        if query.show_published {
            sources.push("SELECT id FROM stored_workflow WHERE published".to_owned());
        }
        self.conditions
            .push(format!("w.id IN ({})", sources.join(" UNION ")));
        let deleted = self.add(Val::from(query.show_deleted));
        let hidden = self.add(Val::from(query.show_hidden));
        self.conditions.push(format!("w.deleted = {deleted}"));
        self.conditions.push(format!("w.hidden = {hidden}"));
    }

    fn search(&mut self, query: &ListQuery) {
        for word in words(query.search.as_deref().unwrap_or_default()) {
            let condition = match word {
                Word::Flag("published") => "w.published".to_owned(),
                Word::Flag("importable") => "w.importable".to_owned(),
                Word::Flag("deleted") => "w.deleted".to_owned(),
                Word::Flag("shared_with_me") => {
                    let user = self.add(Val::from(query.user_id));
                    format!(
                        "w.id IN (SELECT stored_workflow_id FROM stored_workflow_user_share WHERE user_id = {user})"
                    )
                }
                // A flag nobody knows matches nothing, which tells more than being ignored.
                Word::Flag(_) => "FALSE".to_owned(),
                Word::In(columns, text) => {
                    let pattern = self.add(Val::from(containing(&text)));
                    let any: Vec<String> = columns
                        .iter()
                        .map(|column| like(column, &pattern))
                        .collect();
                    format!("({})", any.join(" OR "))
                }
            };
            self.conditions.push(condition);
        }
    }
}

enum Word<'a> {
    Flag(&'a str),
    In(&'static [&'static str], String),
}

/// Splits at blanks outside quotes.
fn words(search: &str) -> Vec<Word<'_>> {
    let mut found = Vec::new();
    let mut rest = search.trim();
    while !rest.is_empty() {
        let mut quote = None;
        let end = rest
            .char_indices()
            .find(|(_, c)| match (quote, *c) {
                (None, '\'' | '"') => {
                    quote = Some(*c);
                    false
                }
                (Some(open), c) => {
                    if c == open {
                        quote = None;
                    }
                    false
                }
                (None, c) => c.is_whitespace(),
            })
            .map_or(rest.len(), |(at, _)| at);
        let (word, after) = rest.split_at(end);
        rest = after.trim_start();
        let unquoted = |text: &str| text.replace(['\'', '"'], "");
        let word = match word.split_once(':') {
            Some(("is", flag)) => Word::Flag(flag),
            Some(("name" | "n", text)) => Word::In(&["w.name"], unquoted(text)),
            Some(("tag" | "t", text)) => Word::In(&["w.tags"], unquoted(text)),
            Some(("user" | "u", text)) => Word::In(&["u.username"], unquoted(text)),
            _ => Word::In(&["w.name", "w.tags", "u.username"], unquoted(word)),
        };
        found.push(word);
    }
    found
}

//! What people say to turns that have begun: kept until the log shows that it was heard.

use legwork_domain::{Message, TurnId};

use crate::turn_row::json;
use crate::{Connection, Error};

/// The messages that the turn has not heard yet, in order.
pub(crate) async fn to_hear(connection: &mut Connection, turn: TurnId) -> Result<Vec<Message>, Error> {
    let rows =
        sqlx::query("SELECT body FROM messages WHERE turn = $1 AND heard_at IS NULL ORDER BY created_at, id")
            .bind(turn.to_string())
            .fetch_all(connection)
            .await?;
    rows.iter().map(|row| json(row, "body")).collect()
}

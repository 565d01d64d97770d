//! Keys of messages in Protobuf: a message with one field, or a named one of several.

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor};

use super::protobuf;
use super::protobuf_value::{cell, is_key, key};
use super::schema::Schema;
use super::schema_key::WANTED;

/// Keys of one schema.
pub(super) struct ProtobufKey {
    messages: Vec<MessageDescriptor>,
    field: Option<String>,
}

impl ProtobufKey {
    /// Of a registered schema, or the error in it. `field`: that of a message that is the key.
    pub fn new(schema: &Schema, field: Option<&str>) -> Result<ProtobufKey, String> {
        Ok(ProtobufKey { messages: protobuf::messages(schema)?, field: field.map(str::to_string) })
    }

    /// The field of a message that is the key.
    fn field(&self, message: &MessageDescriptor) -> Result<FieldDescriptor, String> {
        match &self.field {
            Some(name) => message
                .get_field_by_name(name)
                .ok_or_else(|| format!("there is no field \"{name}\" in {}", message.full_name())),
            None => {
                let mut fields = message.fields();
                match (fields.next(), fields.len()) {
                    (Some(field), 0) => Ok(field),
                    (_, more) => Err(format!("a message of {} fields: {WANTED}", more + 1)),
                }
            }
        }
    }

    /// The text of a key; `None`: null. The indexes of the message are before the body if they aren't given.
    pub fn text(&self, indexes: Option<&[u8]>, body: &[u8]) -> Result<Option<String>, String> {
        let (path, body) = match indexes {
            Some([]) => (vec![0], body),
            Some(indexes) => (protobuf::indexes(indexes)?.0, body),
            None => protobuf::indexes(body)?,
        };
        let descriptor = protobuf::message_at(&self.messages, &path)?;
        let field = self.field(&descriptor)?;
        if !is_key(&field) {
            return Err(format!("field \"{}\" is {:?}: {WANTED}", field.name(), field.kind()));
        }
        let message = DynamicMessage::decode(descriptor, body).map_err(|e| e.to_string())?;
        if field.supports_presence() && !message.has_field(&field) {
            return Ok(None);
        }
        Ok(cell(&message.get_field(&field), &field).and_then(key))
    }
}

//! Messages of the domain name system, as far as records of names are asked for: the question, and
//! what an answer says about it.
//!
//! A resolver may lie, and so may everybody between it and the zone: an answer is only one view,
//! which must agree with others.

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use crate::caa::{Caa, CaaError, sorted};
use crate::name::DomainName;

/// Largest message that is read: a set of records has a few KiB.
pub const MAX_MESSAGE_BYTES: usize = 16 << 10;
/// Most aliases that are followed inside one answer.
const MAX_ALIASES: usize = 8;
/// Largest text of one record.
const MAX_TEXT_BYTES: usize = 1024;

/// A question whose answer is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    name: Name,
    kind: RecordType,
}

/// Why an answer says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// beyond its budget
    #[error("an answer of {0} bytes, at most {MAX_MESSAGE_BYTES} are accepted")]
    Long(usize),
    /// no message
    #[error("no message of the domain name system: {0}")]
    Malformed(String),
    /// an answer to something else
    #[error("an answer to another question")]
    Other,
    /// an answer that says why it has none
    #[error("the answer has the status {0}")]
    Status(ResponseCode),
    /// an answer that was cut
    #[error("the answer is cut short")]
    Cut,
    /// aliases without end
    #[error("more than {MAX_ALIASES} aliases")]
    Aliases,
    /// a record that cannot be read
    #[error(transparent)]
    Caa(#[from] CaaError),
    /// a text of another form
    #[error("a text of {0} bytes, at most {MAX_TEXT_BYTES} are accepted")]
    Text(usize),
}

impl Question {
    /// For the CAA records at a name.
    pub fn caa(name: &DomainName) -> Self {
        Self::new(name, RecordType::CAA)
    }

    /// For the texts at a name.
    pub fn txt(name: &DomainName) -> Self {
        Self::new(name, RecordType::TXT)
    }

    fn new(name: &DomainName, kind: RecordType) -> Self {
        let name = Name::from_ascii(format!("{name}.")).expect("a checked name");
        Self { name, kind }
    }

    /// The message that asks; recursion is wanted. `id` is 0 over HTTPS (RFC 8484, 4.1).
    pub fn message(&self, id: u16) -> Message {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.kind));
        message
    }

    /// The bytes of that message.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.message(0).to_vec().expect("a question of one name is encoded")
    }

    /// The CAA records in an answer, in ascending order; none where the name has none or is not
    /// there.
    ///
    /// # Errors
    /// If it is no whole answer to this question.
    pub fn caa_records(&self, answer: &[u8]) -> Result<Vec<Caa>, AnswerError> {
        let records = self.read(answer)?.into_iter().filter_map(|data| match data {
            RData::CAA(caa) => Some(Caa::new(caa.flags(), &caa.tag, &caa.value)),
            _ => None,
        });
        Ok(sorted(records.collect::<Result<Vec<_>, _>>()?)?)
    }

    /// The texts in an answer, the strings of each joined.
    ///
    /// # Errors
    /// If it is no whole answer to this question.
    pub fn texts(&self, answer: &[u8]) -> Result<Vec<Vec<u8>>, AnswerError> {
        let texts = self.read(answer)?.into_iter().filter_map(|data| match data {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        });
        let texts: Vec<Vec<u8>> = texts.collect();
        match texts.iter().map(Vec::len).find(|length| *length > MAX_TEXT_BYTES) {
            Some(length) => Err(AnswerError::Text(length)),
            None => Ok(texts),
        }
    }

    /// The data of the records that are asked for, at the name or where its aliases lead.
    fn read(&self, answer: &[u8]) -> Result<Vec<RData>, AnswerError> {
        if answer.len() > MAX_MESSAGE_BYTES {
            return Err(AnswerError::Long(answer.len()));
        }
        let message =
            Message::from_vec(answer).map_err(|error| AnswerError::Malformed(error.to_string()))?;
        let metadata = &message.metadata;
        let asked = Query::query(self.name.clone(), self.kind);
        let is_answer =
            metadata.message_type == MessageType::Response && metadata.op_code == OpCode::Query;
        if !is_answer || message.queries != [asked] {
            return Err(AnswerError::Other);
        }
        if metadata.truncation {
            return Err(AnswerError::Cut);
        }
        match metadata.response_code {
            ResponseCode::NoError => {}
            ResponseCode::NXDomain => return Ok(Vec::new()),
            status => return Err(AnswerError::Status(status)),
        }
        let mut name = &self.name;
        let of_name = |name: &Name, kind: RecordType| {
            let class = DNSClass::IN;
            let name = name.clone();
            message.answers.iter().filter(move |record| {
                record.name == name && record.record_type() == kind && record.dns_class == class
            })
        };
        for _ in 0..MAX_ALIASES {
            match of_name(name, RecordType::CNAME).next().map(|record| &record.data) {
                Some(RData::CNAME(alias)) => name = &alias.0,
                _ => {
                    return Ok(of_name(name, self.kind)
                        .map(|record| record.data.clone())
                        .collect());
                }
            }
        }
        Err(AnswerError::Aliases)
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{CAA, CNAME, TXT};

    use super::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn record(owner: &str, data: RData) -> Record {
        Record::from_rdata(Name::from_ascii(owner).unwrap(), 60, data)
    }

    fn issue(issuer: &str) -> RData {
        RData::CAA(CAA::new_issue(false, Some(Name::from_ascii(issuer).unwrap()), Vec::new()))
    }

    fn answer(question: &Question, records: Vec<Record>) -> Message {
        let mut message = question.message(0);
        message.metadata.message_type = MessageType::Response;
        message.add_answers(records);
        message
    }

    #[test]
    fn records_at_the_name_or_its_alias_are_read_and_no_others() {
        let question = Question::caa(&name("a.example.org"));
        let alias = Name::from_ascii("b.example.net.").unwrap();
        let message = answer(
            &question,
            vec![
                record("a.example.org.", RData::CNAME(CNAME(alias))),
                record("b.example.net.", issue("one.example")),
                record("c.example.net.", issue("two.example")),
            ],
        );
        let read = question.caa_records(&message.to_vec().unwrap()).unwrap();
        assert_eq!(read, [Caa::new(0, "issue", b"one.example").unwrap()]);
    }

    #[test]
    fn an_answer_to_another_question_cut_or_failed_says_nothing() {
        let question = Question::caa(&name("a.example.org"));
        let read = |message: &Message| question.caa_records(&message.to_vec().unwrap());
        let other = answer(&Question::caa(&name("b.example.org")), Vec::new());
        assert_eq!(read(&other), Err(AnswerError::Other));
        assert_eq!(read(&question.message(0)), Err(AnswerError::Other), "a question");
        let mut cut = answer(&question, Vec::new());
        cut.metadata.truncation = true;
        assert_eq!(read(&cut), Err(AnswerError::Cut));
        let mut failed = answer(&question, Vec::new());
        failed.metadata.response_code = ResponseCode::ServFail;
        assert_eq!(read(&failed), Err(AnswerError::Status(ResponseCode::ServFail)));
        failed.metadata.response_code = ResponseCode::NXDomain;
        assert_eq!(read(&failed), Ok(Vec::new()));
        assert!(matches!(question.caa_records(b"no message"), Err(AnswerError::Malformed(_))));
        let long = vec![0; MAX_MESSAGE_BYTES + 1];
        assert_eq!(question.caa_records(&long), Err(AnswerError::Long(long.len())));
    }

    #[test]
    fn aliases_in_a_circle_end() {
        let question = Question::txt(&name("a.example.org"));
        let to = |owner: &str, alias: &str| {
            record(owner, RData::CNAME(CNAME(Name::from_ascii(alias).unwrap())))
        };
        let circle = vec![to("a.example.org.", "b.example."), to("b.example.", "a.example.org.")];
        let message = answer(&question, circle).to_vec().unwrap();
        assert_eq!(question.texts(&message), Err(AnswerError::Aliases));
    }

    #[test]
    fn a_text_in_two_strings_is_one() {
        let question = Question::txt(&name("a.example.org"));
        let text = TXT::new(vec!["ab".to_owned(), "c".to_owned()]);
        let message = answer(&question, vec![record("a.example.org.", RData::TXT(text))]);
        assert_eq!(question.texts(&message.to_vec().unwrap()), Ok(vec![b"abc".to_vec()]));
    }
}

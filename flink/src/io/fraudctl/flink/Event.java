package io.fraudctl.flink;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.types.CopyableValue;

/** A Kafka record on its way through the application and in its state, written by its own code: no reflection, no Kryo. */
@SuppressWarnings("serial")
public final class Event implements CopyableValue<Event> {
  static final byte RAW = 0, TRANSACTION = 1, FLAGGED = 2, CLEARED = 3, DETECTION = 4, DEAD = 5;
  byte kind;
  int partition;
  long offset;
  long published; // Kafka's timestamp, epoch milliseconds
  long account;
  long date; // transaction_date or flag_date, epoch milliseconds
  String text = ""; // transaction_id; of a dead letter what is wrong with it
  byte[] value; // JSON; of a flag event the members that a detection carries, without braces; null only if RAW or DEAD
  String topic = ""; // this and the key are kept for dead letters only
  byte[] key;

  @Override
  public void write(DataOutputView to) throws IOException {
    to.writeByte(kind);
    to.writeInt(partition);
    to.writeLong(offset);
    to.writeLong(published);
    to.writeLong(account);
    to.writeLong(date);
    to.writeUTF(text);
    writeBytes(value, to);
    if (kind == DEAD) {
      to.writeUTF(topic);
      writeBytes(key, to);
    }
  }

  @Override
  public void read(DataInputView from) throws IOException {
    kind = from.readByte();
    partition = from.readInt();
    offset = from.readLong();
    published = from.readLong();
    account = from.readLong();
    date = from.readLong();
    text = from.readUTF();
    value = readBytes(from);
    topic = kind == DEAD ? from.readUTF() : "";
    key = kind == DEAD ? readBytes(from) : null;
  }

  @Override
  public void copyTo(Event target) {
    target.kind = kind;
    target.partition = partition;
    target.offset = offset;
    target.published = published;
    target.account = account;
    target.date = date;
    target.text = text;
    target.value = value;
    target.topic = topic;
    target.key = key;
  }

  @Override
  public Event copy() {
    Event copy = new Event();
    copyTo(copy);
    return copy;
  }

  @Override
  public void copy(DataInputView from, DataOutputView to) throws IOException {
    Event event = new Event();
    event.read(from);
    event.write(to);
  }

  @Override
  public int getBinaryLength() {
    return -1; // it varies
  }

  private static void writeBytes(byte[] bytes, DataOutputView to) throws IOException {
    to.writeInt(bytes == null ? -1 : bytes.length);
    if (bytes != null) to.write(bytes);
  }

  private static byte[] readBytes(DataInputView from) throws IOException {
    int length = from.readInt();
    if (length < 0) return null;
    byte[] bytes = new byte[length];
    from.readFully(bytes);
    return bytes;
  }
}

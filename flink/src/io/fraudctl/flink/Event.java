package io.fraudctl.flink;

import java.io.IOException;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.core.memory.*;
import org.apache.flink.types.CopyableValue;

/** A Kafka record on its way through the application and in its state, written by its own code: no reflection, no Kryo. */
@SuppressWarnings("serial")
public final class Event implements CopyableValue<Event> {
  static final TypeInformation<Event> TYPE = TypeInformation.of(Event.class);
  static final byte RAW = 0, TRANSACTION = 1, FLAGGED = 2, CLEARED = 3, DETECTION = 4, DEAD = 5;
  byte kind;
  int partition;
  long offset, published, account, date; // Kafka's timestamp, and transaction_date or flag_date, in epoch milliseconds
  String text = ""; // transaction_id; of a dead letter what is wrong with it
  byte[] value; // JSON; of a flag event the members that a detection carries, without braces; null only if RAW or DEAD
  String topic = ""; // written for dead letters only, as is the key
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
    write(value, to);
    if (kind != DEAD) return;
    to.writeUTF(topic);
    write(key, to);
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
    value = bytes(from);
    topic = kind == DEAD ? from.readUTF() : "";
    key = kind == DEAD ? bytes(from) : null;
  }

  @Override
  public void copyTo(Event to) {
    to.kind = kind;
    to.partition = partition;
    to.offset = offset;
    to.published = published;
    to.account = account;
    to.date = date;
    to.text = text;
    to.value = value;
    to.topic = topic;
    to.key = key;
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

  @Override public int getBinaryLength() { return -1; } // it varies

  private static void write(byte[] bytes, DataOutputView to) throws IOException {
    to.writeInt(bytes == null ? -1 : bytes.length);
    if (bytes != null) to.write(bytes);
  }

  private static byte[] bytes(DataInputView from) throws IOException {
    int length = from.readInt();
    byte[] bytes = length < 0 ? null : new byte[length];
    if (bytes != null) from.readFully(bytes);
    return bytes;
  }
}

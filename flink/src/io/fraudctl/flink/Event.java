package io.fraudctl.flink;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.flink.api.common.serialization.SerializerConfig;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.*;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.api.java.typeutils.GenericTypeInfo;
import org.apache.flink.core.memory.*;
import org.apache.kafka.common.header.*;
import org.apache.kafka.common.header.internals.RecordHeaders;

/**
 * A Kafka record on its way through the application and in its state. Times are epoch milliseconds: `published` is Kafka's
 * timestamp, `date` transaction_date or flag_date. `text` is the transaction_id; of a raw record its topic; of a dead letter
 * what is wrong. `value` is JSON; of a flag event the members that a detection carries, without braces. Raw and bad ones have
 * the key and the headers.
 */
record Event(byte kind, long account, long date, long published, int partition, long offset, String text, byte[] value,
    byte[] key, Headers headers) {
  static final byte RAW = 0, TRANSACTION = 1, FLAGGED = 2, CLEARED = 3, DETECTION = 4, BAD_TRANSACTION = 5, BAD_FLAG = 6;
  static final TypeInformation<Event> TYPE = new GenericTypeInfo<>(Event.class) { // generic in name only
    @Override public TypeSerializer<Event> createSerializer(SerializerConfig config) { return new Serializer(); }
  };

  /** The same record, read as something. */
  Event as(byte kind, long account, long date, String text, byte[] value) {
    return new Event(kind, account, date, published, partition, offset, text, value, null, null);
  }

  /** The same record, found to be malformed. */
  Event bad(byte kind, String why) {
    return new Event(kind, 0, 0, published, partition, offset, why, value, key, headers);
  }

  /** Writes and reads field by field, without reflection; events are never changed, so a copy is the event itself. */
  @SuppressWarnings("serial")
  public static final class Serializer extends TypeSerializerSingleton<Event> {
    @Override public void serialize(Event event, DataOutputView to) throws IOException {
      to.writeByte(event.kind);
      to.writeLong(event.account);
      to.writeLong(event.date);
      to.writeLong(event.published);
      to.writeInt(event.partition);
      to.writeLong(event.offset);
      to.writeUTF(event.text);
      write(event.value, to);
      write(event.key, to);
      if (!carriesHeaders(event.kind)) return;
      Header[] headers = event.headers == null ? new Header[0] : event.headers.toArray();
      to.writeInt(headers.length);
      for (Header header : headers) { // a name may be longer than writeUTF takes
        write(header.key().getBytes(StandardCharsets.UTF_8), to);
        write(header.value(), to);
      }
    }

    @Override public Event deserialize(DataInputView from) throws IOException {
      byte kind = from.readByte();
      return new Event(kind, from.readLong(), from.readLong(), from.readLong(), from.readInt(), from.readLong(),
          from.readUTF(), bytes(from), bytes(from), carriesHeaders(kind) ? headers(from) : null);
    }

    // State holds no events of these kinds, so what earlier versions saved has no headers to miss.
    private static boolean carriesHeaders(byte kind) { return kind == RAW || kind == BAD_TRANSACTION || kind == BAD_FLAG; }

    private static Headers headers(DataInputView from) throws IOException {
      Headers headers = new RecordHeaders();
      for (int left = from.readInt(); left > 0; left--) headers.add(new String(bytes(from), StandardCharsets.UTF_8), bytes(from));
      return headers;
    }

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

    @Override public Event deserialize(Event reuse, DataInputView from) throws IOException { return deserialize(from); }
    @Override public void copy(DataInputView from, DataOutputView to) throws IOException { serialize(deserialize(from), to); }
    @Override public Event copy(Event from) { return from; }
    @Override public Event copy(Event from, Event reuse) { return from; }
    @Override public boolean isImmutableType() { return true; }
    @Override public Event createInstance() { return null; }
    @Override public int getLength() { return -1; } // it varies
    @Override public TypeSerializerSnapshot<Event> snapshotConfiguration() { return new Snapshot(); }
  }

  public static final class Snapshot extends SimpleTypeSerializerSnapshot<Event> {
    public Snapshot() { super(Serializer::new); }
  }
}

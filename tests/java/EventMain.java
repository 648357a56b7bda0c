package io.fraudctl.flink;

import java.util.Arrays;
import java.util.Objects;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;

/** Writes events by their serializer and reads them again; prints how many came back equal, of how many. */
public final class EventMain {
  public static void main(String[] arguments) throws Exception {
    byte[] some = {0, -1, 127};
    // Repeated, binary, empty and null values, and a name that is longer than writeUTF takes.
    Headers headers = new RecordHeaders().add("h", some).add("h", new byte[0]).add("", null).add("é".repeat(40_000), some);
    Event[] events = {
      new Event(Event.TRANSACTION, Long.MAX_VALUE, -62_135_596_800_000L, 1, 3, Long.MAX_VALUE, "é😀\u0000", some, null, null),
      new Event(Event.CLEARED, 1, 0, Long.MIN_VALUE, 0, 0, "", new byte[70_000], null, null),
      new Event(Event.BAD_FLAG, 0, 0, 0, 0, 0, "why", null, some, headers),
      new Event(Event.RAW, 0, 0, 0, 0, 0, "", null, null, new RecordHeaders()),
    };
    DataOutputSerializer out = new DataOutputSerializer(16);
    Event.Serializer serializer = new Event.Serializer();
    for (Event event : events) serializer.serialize(event, out);
    DataOutputSerializer copied = new DataOutputSerializer(16);
    DataInputDeserializer in = new DataInputDeserializer(out.getCopyOfBuffer());
    for (int i = 0; i < events.length; i++) serializer.copy(in, copied);
    DataInputDeserializer again = new DataInputDeserializer(copied.getCopyOfBuffer());
    int equal = 0;
    for (Event event : events) {
      Event read = serializer.deserialize(again);
      boolean same = read.kind() == event.kind() && read.account() == event.account() && read.date() == event.date()
          && read.published() == event.published() && read.partition() == event.partition() && read.offset() == event.offset();
      if (same && read.text().equals(event.text()) && Arrays.equals(read.value(), event.value()) && Arrays.equals(read.key(), event.key())
          && Objects.equals(read.headers(), event.headers())) equal++;
    }
    System.out.println(equal + " of " + events.length + ", " + again.available() + " bytes left");
  }
}

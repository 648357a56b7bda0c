package io.fraudctl.flink;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.metrics.Counter;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.*;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.flink.util.OutputTag;

/** Bytes to transactions or flag events, by the field rules in the properties; what is malformed becomes a dead letter. */
@SuppressWarnings("serial")
final class Parse extends ProcessFunction<Event, Event> {
  static final OutputTag<Event> DEAD = new OutputTag<>("dead-letters", TypeInformation.of(Event.class));
  private static final Pattern DATE = Pattern.compile("(?!0000)\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z");
  private static final Pattern AMOUNT = Pattern.compile("\\d{1,9}(\\.\\d{1,2})?");

  /** One field as `name:kind:shortest:longest:null|set` says it; lengths are in Unicode characters. */
  private record Field(long bit, String name, String kind, int shortest, int longest, boolean nullable) implements Serializable {}

  private final boolean flags;
  private final Map<String, Field> fields = new LinkedHashMap<>();
  private final Set<String> forbidden;
  private final Map<String, String> copied = new LinkedHashMap<>(); // field of a flag event -> its name in a detection
  private final int maxBytes, maxDepth;
  private transient JsonFactory json;
  private transient Counter good, bad;

  /** Parses flag events, or else transactions. */
  Parse(boolean flags, Map<String, String> properties) {
    this.flags = flags;
    for (String rule : Main.need(properties, flags ? "fields.flag" : "fields.transaction").split(",")) {
      String[] part = rule.split(":");
      fields.put(part[0], new Field(1L << fields.size(), part[0], part[1], Integer.parseInt(part[2]), Integer.parseInt(part[3]),
          part[4].equals("null")));
    }
    forbidden = flags ? Set.of() : Set.of(Main.need(properties, "fields.own").split(","));
    for (String pair : Main.need(properties, "fields.copied").split(",")) {
      if (flags) copied.put(pair.substring(0, pair.indexOf('=')), pair.substring(pair.indexOf('=') + 1));
    }
    maxBytes = Integer.parseInt(Main.need(properties, "max.value.bytes"));
    maxDepth = Integer.parseInt(Main.need(properties, "max.depth"));
  }

  @Override
  public void open(OpenContext context) {
    good = Main.metrics(getRuntimeContext()).counter(flags ? "flagsIn" : "transactionsIn");
    bad = Main.metrics(getRuntimeContext()).counter("deadLetters");
  }

  @Override
  public void processElement(Event raw, Context context, Collector<Event> out) {
    Event event;
    try {
      event = parse(raw);
    } catch (IOException | DateTimeException e) {
      bad.inc();
      raw.kind = Event.DEAD;
      raw.text = (e instanceof JsonProcessingException j ? j.getOriginalMessage() : e.getMessage()).replaceAll("\\p{Cntrl}", "?");
      context.output(DEAD, raw);
      return;
    }
    good.inc();
    out.collect(event);
  }

  /** Gives the transaction or flag event; the exception, an IOException or a DateTimeException, says what is wrong. */
  Event parse(Event raw) throws IOException {
    byte[] value = raw.value;
    if (value == null) throw new IOException("the value is null");
    if (value.length > maxBytes) throw new IOException(value.length + " bytes, the limit is " + maxBytes);
    requireUtf8(value);
    Event event = raw.copy();
    event.kind = Event.TRANSACTION;
    Map<String, String> texts = new HashMap<>();
    long found = 0;
    try (JsonParser parser = json().createParser(value)) {
      if (parser.nextToken() != JsonToken.START_OBJECT) throw new IOException("not a JSON object");
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String name = parser.currentName();
        JsonToken token = parser.nextToken();
        if (forbidden.contains(name)) throw new IOException(name + " is a field of detections, not of the input");
        Field field = fields.get(name);
        if (field == null) {
          parser.skipChildren();
          continue;
        }
        found |= field.bit;
        take(field, token, parser, event);
        if (copied.containsKey(name)) texts.put(name, parser.getValueAsString());
      }
      if (parser.nextToken() != null) throw new IOException("text after the JSON object");
    }
    for (Field field : fields.values()) if ((found & field.bit) == 0) throw new IOException(field.name + " is missing");
    if (flags) event.value = members(texts);
    return event;
  }

  private JsonFactory json() {
    if (json == null) {
      // The limit on bytes bounds everything but depth. Names come from strangers: neither intern them nor refuse odd ones.
      StreamReadConstraints limits = StreamReadConstraints.builder().maxNestingDepth(maxDepth).maxNumberLength(maxBytes)
          .maxNameLength(maxBytes).build();
      json = new JsonFactoryBuilder().streamReadConstraints(limits).enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .disable(JsonFactory.Feature.CHARSET_DETECTION).disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .disable(JsonFactory.Feature.FAIL_ON_SYMBOL_HASH_OVERFLOW).build();
    }
    return json;
  }

  /** Jackson by itself lets overlong forms and surrogates pass. */
  private static void requireUtf8(byte[] value) throws IOException {
    for (byte b : value) {
      if (b >= 0) continue;
      StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(value));
      return;
    }
  }

  /** Checks a known field's value and keeps it if the rule needs it. */
  private static void take(Field field, JsonToken token, JsonParser parser, Event event) throws IOException {
    if (token == JsonToken.VALUE_NULL && field.nullable) return;
    String text = parser.getText();
    if (field.kind.equals("account")) {
      if (token != JsonToken.VALUE_NUMBER_INT || parser.getLongValue() < 1) throw new IOException(field.name + " is not a positive 64-bit integer");
      event.account = parser.getLongValue();
      return;
    }
    if (field.kind.equals("amount")) {
      if (!token.isNumeric() || !AMOUNT.matcher(text).matches()) throw new IOException(field.name + " is not an amount from 0.00 to 999999999.99");
      return;
    }
    if (token != JsonToken.VALUE_STRING) throw new IOException(field.name + " is not a string");
    int length = 0;
    for (int i = 0, c; i < text.length(); i += Character.charCount(c), length++) {
      c = text.codePointAt(i);
      if (c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE) throw new IOException(field.name + " holds an unpaired surrogate");
      if (field.kind.equals("identifier") && Character.isISOControl(c)) throw new IOException(field.name + " holds a control character");
    }
    if (length < field.shortest || length > field.longest) {
      throw new IOException(field.name + " has " + length + " characters, not " + field.shortest + " to " + field.longest);
    }
    if (field.kind.equals("date")) event.date = millis(text);
    if (field.kind.equals("identifier")) event.text = text;
    if (!field.kind.equals("status")) return;
    if (!text.equals("FLAGGED") && !text.equals("CLEARED")) throw new IOException(field.name + " is neither FLAGGED nor CLEARED");
    event.kind = text.equals("FLAGGED") ? Event.FLAGGED : Event.CLEARED;
  }

  private static long millis(String date) throws IOException {
    if (!DATE.matcher(date).matches()) throw new IOException("a date is not YYYY-MM-DDTHH:MM:SS.mmmZ");
    return LocalDateTime.of(part(date, 0, 4), part(date, 5, 7), part(date, 8, 10), part(date, 11, 13), part(date, 14, 16), part(date, 17, 19))
        .toEpochSecond(ZoneOffset.UTC) * 1000 + part(date, 20, 23);
  }

  private static int part(String date, int from, int to) {
    return Integer.parseInt(date, from, to, 10);
  }

  private byte[] members(Map<String, String> texts) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    try (JsonGenerator generator = json().createGenerator(out)) {
      generator.writeStartObject();
      for (var names : copied.entrySet()) generator.writeStringField(names.getValue(), texts.get(names.getKey()));
      generator.writeEndObject();
    }
    return Arrays.copyOfRange(out.toByteArray(), 1, out.size() - 1);
  }
}

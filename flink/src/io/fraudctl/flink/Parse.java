package io.fraudctl.flink;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.*;
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
  private record Field(long bit, String name, String kind, int shortest, int longest, boolean nullable)
      implements Serializable {}

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
      fields.put(part[0], new Field(1L << fields.size(), part[0], part[1], Integer.parseInt(part[2]),
          Integer.parseInt(part[3]), part[4].equals("null")));
    }
    forbidden = flags ? Set.of() : Set.of(Main.need(properties, "fields.own").split(","));
    for (String pair : Main.need(properties, "fields.copied").split(flags ? "," : "$^")) {
      if (flags) copied.put(pair.split("=")[0], pair.split("=")[1]);
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
    try {
      Event event = parse(raw);
      good.inc();
      out.collect(event);
    } catch (IOException | DateTimeException e) { // of parsing: what follows it throws neither
      bad.inc();
      raw.kind = Event.DEAD;
      raw.text = (e instanceof JsonProcessingException j ? j.getOriginalMessage() : e.getMessage()).replaceAll("\\p{Cntrl}", "?");
      context.output(DEAD, raw);
    }
  }

  /** Gives the transaction or flag event; the exception, an IOException or a DateTimeException, says what is wrong. */
  Event parse(Event raw) throws IOException {
    byte[] value = raw.value;
    require(value != null, "the value", "is null");
    require(value.length <= maxBytes, "the value", "is too long");
    requireUtf8(value);
    Event event = raw.copy();
    event.kind = Event.TRANSACTION;
    Map<String, String> texts = new HashMap<>();
    long found = 0;
    try (JsonParser parser = json().createParser(value)) {
      require(parser.nextToken() == JsonToken.START_OBJECT, "the value", "is not a JSON object");
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String name = parser.currentName();
        JsonToken token = parser.nextToken();
        require(!forbidden.contains(name), name, "is a field of detections, not of the input");
        Field field = fields.get(name);
        if (field == null) {
          parser.skipChildren();
        } else {
          found |= field.bit;
          take(field, token, parser, event);
          if (copied.containsKey(name)) texts.put(name, parser.getValueAsString());
        }
      }
      require(parser.nextToken() == null, "the value", "goes on after the JSON object");
    }
    for (Field field : fields.values()) require((found & field.bit) != 0, field.name, "is missing");
    if (flags) event.value = members(texts);
    return event;
  }

  private static void require(boolean right, String what, String why) throws IOException {
    if (!right) throw new IOException(what + " " + why);
  }

  /** Jackson by itself lets overlong forms and surrogates pass. */
  private static void requireUtf8(byte[] value) throws IOException {
    for (byte b : value) {
      if (b >= 0) continue;
      StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(value));
      return;
    }
  }

  private JsonFactory json() {
    if (json != null) return json;
    // The limit on bytes bounds everything but depth. Names come from strangers: neither intern them nor refuse odd ones.
    return json = new JsonFactoryBuilder().streamReadConstraints(StreamReadConstraints.builder().maxNestingDepth(maxDepth)
        .maxNumberLength(maxBytes).maxNameLength(maxBytes).build()).enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
        .disable(JsonFactory.Feature.CHARSET_DETECTION).disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
        .disable(JsonFactory.Feature.FAIL_ON_SYMBOL_HASH_OVERFLOW).build();
  }

  /** Checks a known field's value, and keeps it if the rule needs it. */
  private static void take(Field field, JsonToken token, JsonParser parser, Event event) throws IOException {
    if (token == JsonToken.VALUE_NULL && field.nullable) return;
    String text = parser.getText();
    switch (field.kind) {
      case "account" -> {
        require(token == JsonToken.VALUE_NUMBER_INT && parser.getLongValue() > 0, field.name, "is not an integer from 1 on");
        event.account = parser.getLongValue();
        return;
      }
      case "amount" -> {
        require(token.isNumeric() && AMOUNT.matcher(text).matches(), field.name, "is not an amount from 0.00 to 999999999.99");
        return;
      }
      default -> require(token == JsonToken.VALUE_STRING, field.name, "is not a string");
    }
    int length = 0;
    boolean identifier = field.kind.equals("identifier");
    for (int i = 0, c; i < text.length(); i += Character.charCount(c), length++) {
      c = text.codePointAt(i);
      require(c < Character.MIN_SURROGATE || c > Character.MAX_SURROGATE, field.name, "holds an unpaired surrogate");
      require(!identifier || !Character.isISOControl(c), field.name, "holds a control character");
    }
    require(length >= field.shortest && length <= field.longest, field.name, "has too few or too many characters");
    switch (field.kind) {
      case "identifier" -> event.text = text;
      case "date" -> event.date = millis(field, text);
      case "status" -> {
        require(text.equals("FLAGGED") || text.equals("CLEARED"), field.name, "is neither FLAGGED nor CLEARED");
        event.kind = text.equals("FLAGGED") ? Event.FLAGGED : Event.CLEARED;
      }
      default -> {}
    }
  }

  private static long millis(Field field, String date) throws IOException {
    require(DATE.matcher(date).matches(), field.name, "is not YYYY-MM-DDTHH:MM:SS.mmmZ");
    return LocalDateTime.of(part(date, 0, 4), part(date, 5, 7), part(date, 8, 10), part(date, 11, 13), part(date, 14, 16),
        part(date, 17, 19)).toEpochSecond(ZoneOffset.UTC) * 1000 + part(date, 20, 23);
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

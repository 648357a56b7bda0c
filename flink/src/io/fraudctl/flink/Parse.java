package io.fraudctl.flink;

import java.io.*;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.*;
import java.util.*;
import java.util.regex.Pattern;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.metrics.Counter;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.*;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.util.*;

/** Bytes to transactions or flag events, by the field rules in the properties; what is malformed becomes a dead letter. */
@SuppressWarnings("serial")
final class Parse extends ProcessFunction<Event, Event> {
  static final OutputTag<Event> DEAD = new OutputTag<>("dead-letters", Event.TYPE);
  private static final Pattern AMOUNT = Pattern.compile("\\d{1,9}(\\.\\d{1,2})?");
  private static final Set<String> STATUSES = Set.of("FLAGGED", "CLEARED");
  private static final String DATE = "0000-00-00T00:00:00.000Z"; // 0 stands for a digit

  private enum Kind { ACCOUNT, AMOUNT, DATE, IDENTIFIER, STATUS, TEXT }

  /** One field as `name:kind:shortest:longest:null|set` says it; lengths are in Unicode characters. */
  private record Field(long bit, String name, Kind kind, int shortest, int longest, boolean nullable) implements Serializable {}

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
      fields.put(part[0], new Field(1L << fields.size(), part[0], Kind.valueOf(part[1].toUpperCase(Locale.ROOT)),
          Integer.parseInt(part[2]), Integer.parseInt(part[3]), part[4].equals("null")));
    }
    forbidden = flags ? Set.of() : Set.of(Main.need(properties, "fields.own").split(","));
    for (String pair : Main.need(properties, "fields.copied").split(",")) copied.put(pair.split("=")[0], pair.split("=")[1]);
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
      String why = e instanceof JsonProcessingException j ? j.getOriginalMessage() : e.getMessage();
      context.output(DEAD, new Event(flags ? Event.BAD_FLAG : Event.BAD_TRANSACTION, 0, 0, raw.published(), raw.partition(),
          raw.offset(), why.replaceAll("\\p{Cntrl}", "?"), raw.value(), raw.key()));
      return;
    }
    good.inc();
    out.collect(event);
  }

  /** Makes a raw record a transaction or a flag event; an IOException or a DateTimeException says what is wrong with it. */
  Event parse(Event raw) throws IOException {
    byte[] value = raw.value();
    require(value != null, "the value", "is null");
    require(value.length <= maxBytes, "the value", "is too long");
    requireUtf8(value);
    Map<String, String> texts = flags ? new HashMap<>() : Map.of();
    long found = 0, account = 0, date = 0;
    byte kind = Event.TRANSACTION;
    String id = "";
    try (JsonParser parser = json().createParser(value)) {
      require(parser.nextToken() == JsonToken.START_OBJECT, "the value", "is not a JSON object");
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        Field field = fields.get(parser.currentName());
        require(field != null || !forbidden.contains(parser.currentName()), parser.currentName(), "is a field of detections");
        JsonToken token = parser.nextToken();
        if (field == null) {
          parser.skipChildren();
          continue;
        }
        check(field, token, parser);
        found |= field.bit;
        switch (field.kind) {
          case ACCOUNT -> account = parser.getLongValue();
          case DATE -> date = millis(field, parser.getText());
          case IDENTIFIER -> id = parser.getText();
          case STATUS -> kind = parser.getText().equals("FLAGGED") ? Event.FLAGGED : Event.CLEARED;
          default -> {}
        }
        if (flags && copied.containsKey(field.name)) texts.put(field.name, parser.getValueAsString());
      }
      require(parser.nextToken() == null, "the value", "goes on after the JSON object");
    }
    for (Field field : fields.values()) require((found & field.bit) != 0, field.name, "is missing");
    if (flags) value = members(texts);
    return new Event(kind, account, date, raw.published(), raw.partition(), raw.offset(), id, value, null);
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

  private static void check(Field field, JsonToken token, JsonParser parser) throws IOException {
    if (token == JsonToken.VALUE_NULL && field.nullable) return;
    char[] text = parser.getTextCharacters();
    int from = parser.getTextOffset(), to = from + parser.getTextLength(), length = 0;
    if (field.kind == Kind.ACCOUNT) {
      require(token == JsonToken.VALUE_NUMBER_INT && parser.getLongValue() > 0, field.name, "is not an integer from 1 on");
    } else if (field.kind == Kind.AMOUNT) {
      boolean amount = token.isNumeric() && AMOUNT.matcher(parser.getText()).matches();
      require(amount, field.name, "is not an amount from 0.00 to 999999999.99");
    } else {
      require(token == JsonToken.VALUE_STRING, field.name, "is not a string");
      for (int i = from; i < to; i++, length++) {
        require(field.kind != Kind.IDENTIFIER || !Character.isISOControl(text[i]), field.name, "holds a control character");
        if (!Character.isSurrogate(text[i])) continue;
        require(i + 1 < to && Character.isSurrogatePair(text[i], text[++i]), field.name, "holds an unpaired surrogate");
      }
      require(length >= field.shortest && length <= field.longest, field.name, "has too few or too many characters");
      boolean known = field.kind != Kind.STATUS || STATUSES.contains(parser.getText());
      require(known, field.name, "is neither FLAGGED nor CLEARED");
    }
  }

  private static long millis(Field field, String date) throws IOException {
    boolean fits = date.length() == DATE.length();
    for (int i = 0; fits && i < DATE.length(); i++) {
      fits = DATE.charAt(i) == '0' ? date.charAt(i) >= '0' && date.charAt(i) <= '9' : date.charAt(i) == DATE.charAt(i);
    }
    require(fits && number(date, 0, 4) > 0, field.name, "is not YYYY-MM-DDTHH:MM:SS.mmmZ");
    return LocalDateTime.of(number(date, 0, 4), number(date, 5, 7), number(date, 8, 10), number(date, 11, 13),
        number(date, 14, 16), number(date, 17, 19)).toEpochSecond(ZoneOffset.UTC) * 1000 + number(date, 20, 23);
  }

  private static int number(String date, int from, int to) { return Integer.parseInt(date, from, to, 10); }

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

package io.fraudctl.local;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpHeaderNames.*;

import java.util.Map;
import java.util.Optional;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.runtime.io.network.netty.InboundChannelHandlerFactory;
import org.apache.flink.shaded.netty4.io.netty.buffer.Unpooled;
import org.apache.flink.shaded.netty4.io.netty.channel.*;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.*;
import org.apache.flink.shaded.netty4.io.netty.util.ReferenceCountUtil;

/**
 * Keeps other sites' pages away from Flink's REST API, which has no login of its own and whose web.access-control-*
 * only tells browsers who may read the answers. Flink finds this class by META-INF/services.
 */
public final class FlinkRequests implements InboundChannelHandlerFactory {
  @Override public int priority() { return 0; }

  /** Returns a handler that puts the real one right behind the HTTP codec: before uploads are written to the disk. */
  @Override public Optional<ChannelHandler> createHandler(Configuration configuration, Map<String, String> headers) {
    return Optional.of(new ChannelInitializer<Channel>() {
      @Override protected void initChannel(Channel channel) {
        ChannelPipeline pipeline = channel.pipeline();
        pipeline.addAfter(pipeline.context(HttpServerCodec.class).name(), "same-origin", new Guard());
      }
    });
  }

  /** Answers a refused request with 403 once its body, which it drops, has come; then it closes the connection. */
  private static final class Guard extends ChannelInboundHandlerAdapter {
    private String refusal;

    @Override public void channelRead(ChannelHandlerContext context, Object message) {
      if (message instanceof HttpRequest request) refusal = refusal(request);
      if (refusal == null) {
        context.fireChannelRead(message);
        return;
      }
      ReferenceCountUtil.release(message);
      if (message instanceof LastHttpContent)
        context.writeAndFlush(forbidden(refusal)).addListener(ChannelFutureListener.CLOSE);
    }

    private static String refusal(HttpRequest request) {
      HttpHeaders headers = request.headers();
      String why = SameOrigin.refusal(headers.get(HOST), headers.get(ORIGIN), headers.get("Sec-Fetch-Site"));
      // GET /jobs/ID/yarn-cancel and yarn-stop, made for YARN's proxy, change things; a browser that is too old to send
      // Sec-Fetch-Site asks them for <img> without a word of where it comes from.
      boolean yarn = new QueryStringDecoder(request.uri()).path().contains("/yarn-");
      return why == null && yarn ? "there is no YARN here" : why;
    }

    private static FullHttpResponse forbidden(String why) {
      var body = Unpooled.copiedBuffer("{\"errors\":[\"Forbidden: " + why + "\"]}", UTF_8);
      var answer = new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.FORBIDDEN, body);
      answer.headers().set(CONTENT_TYPE, "application/json").set(CONTENT_LENGTH, body.readableBytes())
          .set(CONNECTION, HttpHeaderValues.CLOSE);
      return answer;
    }
  }
}
